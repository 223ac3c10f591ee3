"""Pictures, and a bundle that was exported elsewhere, for the tests of promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.scenes import write_scenes


@pytest.fixture(scope="package")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty demo scenes in class folders."""
    return write_scenes(tmp_path_factory.mktemp("reliable pictures"), "test", 40)


@pytest.fixture(scope="package")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model's FP32 graph in a bundle without engine, for OpenVINO."""
    for extra in ("torch", "onnx", "openvino"):
        pytest.importorskip(extra)
    from resnest_edge.pipeline.export import export
    from resnest_edge.pipeline.plan import BuildRequest
    from resnest_edge.spec import Precision, Target

    out = tmp_path_factory.mktemp("exported") / "cam"
    export(BuildRequest(precisions=(Precision.FP32,), targets=(Target.OPENVINO,), out=out))
    return out
