"""Command lines of trtexec for each version, and its warnings."""

from __future__ import annotations

import shlex

import pytest

from resnest_edge.backends.tensorrt.trtexec import build_command, dialect, run_command, timing_warnings
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Precision, QdqStyle, Target


def info(batch: str = "1:8:32", input_format: InputFormat = InputFormat.UINT8_NHWC) -> GraphInfo:
    return GraphInfo(
        "resnest50",
        Precision.INT8,
        Precision.FP16,
        QdqStyle.PORTABLE,
        8,
        input_format,
        BatchRange.parse(batch),
        224,
        1000,
    )


@pytest.mark.parametrize(
    ("target", "version", "expected"),
    [
        (
            Target.TENSORRT,
            "10.3.0",
            "trtexec --loadEngine=e.plan --shapes=images:8x224x224x3 --infStreams=2 --useSpinWait --useCudaGraph",
        ),
        (
            Target.TENSORRT,
            "11.4.1",
            "trtexec --loadEngine=e.plan --shapes=images:8x224x224x3 --infStreams=2 --includeDataTransfers",
        ),
        (
            Target.TENSORRT_RTX,
            "1.7.1",
            "tensorrt_rtx --loadEngine=e.plan --shapes=images:8x224x224x3 --infStreams=2 --includeDataTransfers",
        ),
    ],
)
def test_a_run_with_a_cuda_graph(target: Target, version: str, expected: str) -> None:
    assert run_command(dialect(target, version), "e.plan", info(), batch=8, streams=2) == expected


@pytest.mark.parametrize(
    ("version", "graph", "flag"),
    [
        ("10.13", True, "--useCudaGraph"),
        ("10.13", False, None),
        ("11.0", True, None),
        ("11.0", False, "--noCudaGraph"),
        (None, False, "--noCudaGraph"),
    ],
)
def test_each_version_says_only_what_is_not_its_default(version: str | None, graph: bool, flag: str | None) -> None:
    command = run_command(dialect(Target.TENSORRT, version), "e", info("4"), batch=4, cuda_graph=graph)
    assert {word for word in command.split() if "CudaGraph" in word} == ({flag} if flag else set())
    assert "--shapes" not in command and "--infStreams" not in command  # fixed batch, one stream


def test_a_path_with_a_blank_is_one_word() -> None:
    command = run_command(dialect(Target.TENSORRT, "10.3"), "my engines/e.plan", info("1"), batch=1)
    assert "--loadEngine=my engines/e.plan" in shlex.split(command)


def test_a_build_is_strongly_typed_and_has_the_profile() -> None:
    details = {"workspace_mib": 1024, "optimization_level": 3}
    ten = build_command(dialect(Target.TENSORRT, "10.3"), "model.onnx", "e.plan", info(), details)
    assert ten is not None
    assert {
        "--onnx=model.onnx",
        "--saveEngine=e.plan",
        "--stronglyTyped",
        "--minShapes=images:1x224x224x3",
        "--optShapes=images:8x224x224x3",
        "--maxShapes=images:32x224x224x3",
        "--memPoolSize=workspace:1024M",
        "--builderOptimizationLevel=3",
    } <= set(ten.split())
    planar = info("2", InputFormat.FLOAT_NCHW)
    eleven = build_command(dialect(Target.TENSORRT, "11.4"), "model.onnx", "e.plan", planar, {})
    assert eleven is not None
    assert "--stronglyTyped" not in eleven and "Shapes" not in eleven and "memPool" not in eleven
    assert build_command(dialect(Target.TENSORRT_RTX, "1.7"), "model.onnx", "e.rtx", planar, {}) is None


@pytest.mark.parametrize(
    ("option", "flags"),
    [
        ({"dla_core": 0}, {"--useDLACore=0", "--allowGPUFallback"}),
        ({"version_compatible": True}, {"--versionCompatible"}),
        ({"refittable": True, "stripped": True}, {"--refit", "--stripWeights"}),
        ({"hardware_compatibility": "ampere-plus"}, {"--hardwareCompatibilityLevel=ampere+"}),
    ],
)
def test_a_builds_options_are_in_its_command(option: dict[str, object], flags: set[str]) -> None:
    flavour, args = dialect(Target.TENSORRT, "10.3"), ("model.onnx", "e.plan", info("1"))
    plain, command = build_command(flavour, *args, {}), build_command(flavour, *args, option)
    assert plain is not None and command is not None
    assert set(command.split()) - set(plain.split()) == flags


GOOD = {"h2d_ms": 0.02, "enqueue_ms": 0.1, "gpu_ms": 1.0, "d2h_ms": 0.01}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ()),
        ({"enqueue_ms": 0.8}, ()),  # at the threshold, not above
        ({"enqueue_ms": 0.81}, ("host",)),
        ({"h2d_ms": 0.99}, ()),
        ({"h2d_ms": 1.0}, ("copying in",)),
        ({"d2h_ms": 1.5, "h2d_ms": 1.2}, ("copying out takes 1.500",)),
        ({"enqueue_ms": 3.0, "d2h_ms": 2.0}, ("host", "bus")),
    ],
)
def test_what_limits_an_engine_is_named(changed: dict[str, float], words: tuple[str, ...]) -> None:
    found = timing_warnings({**GOOD, **changed})
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))


def test_a_runtime_without_these_clocks_is_warned_of_nothing() -> None:
    assert timing_warnings({}) == timing_warnings({"infer_ms": 3.0}) == timing_warnings({"gpu_ms": 0.0}) == []
