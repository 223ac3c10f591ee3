"""A build on the wrong calibration images says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from resnest_edge.pipeline.build import build
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.spec import Target


@pytest.mark.parametrize("target", [Target.ONNXRUNTIME])
def test_black_pictures_are_told_by_every_sign_they_give(tmp_path: Path, target: Target) -> None:
    pytest.importorskip("onnxruntime", reason="builds and runs engines")
    folder = tmp_path / "black"
    folder.mkdir()
    for index in range(40):
        Image.new("RGB", (112, 112)).save(folder / f"{index}.png")
    request = BuildRequest(images=str(folder), eval_images="demo:test", targets=(target,), out=tmp_path / "engine")
    report = build(request)
    told = " ".join(report.warnings)
    assert "almost of one colour" in told and "of another kind" in told
    assert report.results[0]["drop"] > 10, "ranges of black pictures should ruin the engine"
