"""What `benchmark` adds for TensorRT: the command that repeats a figure, and trtexec's warnings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from resnest_edge.bundle import Bundle, Manifest
from resnest_edge.measure.latency import Benchmark
from resnest_edge.measure.summary import BenchmarkResult
from resnest_edge.pipeline.benchmark import with_trtexec
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Precision, Preprocessing, Target

INFO = GraphInfo(
    "cam", Precision.FP16, Precision.FP16, None, 8, InputFormat.UINT8_NHWC, BatchRange(1, 8, 32), 224, 1000
)
RESULT = BenchmarkResult(
    "engines/cam", "tensorrt", "fp16", 8, 2, {}, 100.0, None, 1.0, 10, 2, 0.5, {"cuda_graph": True}, {}
)


def bundle(target: Target, runtime: str) -> Bundle:
    manifest = Manifest(INFO, Preprocessing(), target, engine="engine.plan", runtime=runtime)
    return Bundle(Path("engines/cam"), manifest, (), "0")


def told(result: BenchmarkResult, target: Target = Target.TENSORRT, runtime: str = "10.3.0") -> Benchmark:
    measured = Benchmark((result,), (), {}, ("Before",))
    return with_trtexec(measured, {"engines/cam": bundle(target, runtime)})


def command(**changed: Any) -> str:
    (result,) = told(replace(RESULT, **changed)).results
    assert result.trtexec is not None
    return result.trtexec


def test_a_figure_has_the_command_that_repeats_it() -> None:
    assert command() == (
        "trtexec --loadEngine=engines/cam/engine.plan --shapes=images:8x224x224x3 --infStreams=2 "
        "--useSpinWait --useCudaGraph"
    )
    assert "CudaGraph" not in command(settings={"cuda_graph": False})
    assert "--shapes=images:1x" in command(batch=1)


def test_the_session_s_clocks_are_judged_and_the_result_named() -> None:
    clocks = {"enqueue_ms": 2.0, "gpu_ms": 1.0, "h2d_ms": 0.1, "d2h_ms": 0.1}
    before, warning = told(replace(RESULT, timings_ms=clocks)).warnings
    assert before == "Before"
    assert "Bound by the host" in warning and "engines/cam at batch 8, 2 streams" in warning


def test_cpu_targets_have_neither() -> None:
    measured = told(replace(RESULT, timings_ms={"enqueue_ms": 2.0, "gpu_ms": 1.0}), Target.OPENVINO, "2026.4")
    assert measured.results[0].trtexec is None and measured.warnings == ("Before",)
