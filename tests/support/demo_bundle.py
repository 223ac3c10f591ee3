"""An engine of the demo model, built in seconds: measured on a few scenes instead of all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resnest_edge.pipeline.build import build
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.spec import Precision, Target
from tests.support.scenes import write_scenes


def demo_bundle(folder: Path, **changes: Any) -> Path:
    """Build the demo model in FP32 for OpenVINO, in ``folder``, with other fields of the request as given."""
    scenes = write_scenes(folder / "scenes", "test", 10)
    out = folder / "engine"
    request = {"precisions": (Precision.FP32,), "targets": (Target.OPENVINO,), "images": str(scenes), "out": out}
    build(BuildRequest(**{**request, **changes}))
    return out
