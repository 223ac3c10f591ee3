"""`build` for a TensorRT target from start to end, with the real TensorRT for RTX, on a machine without a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resnest_edge.backends.base import BuildOptions
from resnest_edge.pipeline.build import build
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.spec import BatchRange, Precision, Target
from tests.support.scenes import write_scenes

pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX: pip install 'resnest-edge[rtx]'")


def test_engine_options_reach_the_engine_and_not_the_cpus_reference(tmp_path: Path) -> None:
    """The FP32 engine to compare with is a CPU's, which takes no TensorRT options."""
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here: accuracy is measured")
    pictures = write_scenes(tmp_path / "pictures", "test", 12)
    told: list[str] = []
    asked = BuildRequest(
        precisions=(Precision.FP16,),
        targets=(Target.TENSORRT_RTX,),
        batch=BatchRange(1, 2, 4),
        images=str(pictures),
        eval_images=str(pictures),
        out=tmp_path / "cam",
        options=BuildOptions(compute_capabilities=("8.9",), optimization_level=1),
    )
    report = build(asked, lambda stage, done, total: told.append(stage))
    (row,) = report.results
    assert row["top1"] is None and "no usable NVIDIA driver or GPU" in row["reason"]
    details = json.loads((tmp_path / "cam" / "manifest.json").read_text())["details"]
    assert details["compute_capabilities"] == ["8.9"] and details["optimization_level"] == 1
    assert details["built_for"]["gpu"] is None and details["built_for"]["profile"][0][0] == 1
    assert "build tensorrt-rtx fp16" in told and "build openvino fp32" in told
