"""What the doctor says of machines that this one is not."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from resnest_edge import environment
from resnest_edge.backends.cuda import Device
from resnest_edge.errors import UnavailableError
from resnest_edge.pipeline import doctor
from resnest_edge.pipeline.doctor import ability, examine, jetson_command
from resnest_edge.spec import Precision, Target

ORIN = Device("Orin", "8.7", "12.6", 30536)
NO_GPU = "CUDA finds no GPU here"


class Here:
    """Stands for ``load_cuda()``."""

    def device(self) -> Device:
        return ORIN


def nothing() -> Here:
    raise UnavailableError(NO_GPU, hint="Check it with nvidia-smi.")


def judged(target: Target, precision: Precision, gpu: Device | None = None, version: str | None = "1.0") -> Any:
    found = ability(target, precision, version, gpu, None if gpu else NO_GPU)
    return found["builds"], found["runs"], found["reason"]


@pytest.mark.parametrize(
    ("target", "gpu", "expected"),
    [
        (Target.TENSORRT, ORIN, (True, True, None)),
        (Target.TENSORRT, None, (False, False, NO_GPU)),
        (Target.TENSORRT_RTX, None, (True, False, NO_GPU)),
        (Target.TENSORRT_RTX, ORIN, (True, True, None)),
    ],
)
def test_tensorrt_needs_a_gpu_and_rtx_builds_without(
    target: Target, gpu: Device | None, expected: tuple[bool, bool, str | None]
) -> None:
    assert judged(target, Precision.INT8, gpu) == expected


@pytest.mark.parametrize(
    ("capability", "precision", "runs"),
    [
        ("7.5", Precision.FP16, True),
        ("6.1", Precision.FP16, False),
        ("6.0", Precision.INT8, False),
        ("7.5", Precision.INT8, True),
        ("7.5", Precision.BF16, False),
        ("10.0", Precision.BF16, True),  # ten is above eight, also as text
        ("5.0", Precision.FP32, True),
    ],
)
def test_old_gpus_lack_precisions(capability: str, precision: Precision, runs: bool) -> None:
    builds, ran, reason = judged(Target.TENSORRT, precision, Device("old", capability, "12.6", 8000))
    assert builds is ran is runs
    assert runs or capability in reason


def test_what_is_not_installed_is_said() -> None:
    assert judged(Target.OPENVINO, Precision.FP32, version=None) == (
        False,
        False,
        "OpenVINO is not installed, or does not load",
    )


@pytest.mark.parametrize(
    ("target", "precision"),
    [(Target.OPENVINO, Precision.FP16), (Target.ONNXRUNTIME, Precision.FP16), (Target.ONNXRUNTIME, Precision.BF16)],
)
def test_what_a_runtime_refuses_has_its_own_reason(target: Target, precision: Precision) -> None:
    builds, runs, reason = judged(target, precision)
    assert not builds and not runs and precision.name in reason


@pytest.mark.parametrize("modern", [True, False])
def test_limits_of_a_cpu(modern: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "has_bf16", lambda: modern)
    monkeypatch.setattr(environment, "has_safe_int8_products", lambda: modern)
    bf16, int8 = judged(Target.OPENVINO, Precision.BF16), judged(Target.ONNXRUNTIME, Precision.INT8)
    assert bf16[:2] == int8[:2] == (True, True)
    assert (bf16[2], int8[2]) == (None, None) if modern else ("FP32" in bf16[2] and "7-bit" in int8[2])


def test_a_gpu_makes_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "load_cuda", Here)
    found = examine()
    json.dumps(found, allow_nan=False)
    assert found["gpu"]["name"] == "Orin" and found["gpu_reason"] is None
    assert found["meters"]["gpu"] is not None
    monkeypatch.setattr(doctor, "load_cuda", nothing)
    found = examine()
    assert found["gpu"] is None and NO_GPU in found["gpu_reason"]
    assert found["meters"]["gpu"] is None
    rows = {(row["target"], row["precision"]): row for row in found["abilities"]}
    assert len(rows) == len(Target) * len(Precision)
    assert not rows["tensorrt", "int8"]["runs"] and rows["tensorrt", "int8"]["reason"]


def test_every_missing_part_has_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for module in ("openvino", "onnxruntime", "tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    monkeypatch.setattr(environment, "jetson", lambda: None)
    missing = {item["part"]: item["command"] for item in examine()["missing"]}
    assert missing.keys() == {"export", *(target.value for target in Target)}
    assert missing["tensorrt-rtx"] == "pip install 'resnest-edge[rtx]'"
    monkeypatch.setattr(environment, "jetson", lambda: {"board": "Orin", "l4t": "36.4.3", "jetpack": "6.2"})
    missing = {item["part"]: item["command"] for item in examine()["missing"]}
    assert missing["tensorrt"] == "sudo apt install nvidia-jetpack"


def test_a_jetson_s_tensorrt_outside_the_environment_is_let_in(tmp_path: Path) -> None:
    assert jetson_command(tmp_path) == "sudo apt install nvidia-jetpack"
    (tmp_path / "usr/lib/python3.10/dist-packages/tensorrt").mkdir(parents=True)
    assert jetson_command(tmp_path).startswith("python3 -m venv --system-site-packages ")
