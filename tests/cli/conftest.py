"""Engines of the demo model to call the command line on."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnest_edge.pipeline.build import build
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.spec import Precision, Target
from tests.support.scenes import write_scenes


@pytest.fixture(scope="package")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("cli pictures"), "test", 60)


@pytest.fixture(scope="package")
def engines(workstation: None, tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A folder with the bundles ``fp32`` and ``int8``, for OpenVINO."""
    out = tmp_path_factory.mktemp("cli engines") / "engines"
    build(
        BuildRequest(
            precisions=(Precision.FP32, Precision.INT8),
            targets=(Target.OPENVINO,),
            images=str(pictures),
            calib_images=30,
            out=out,
        )
    )
    return out
