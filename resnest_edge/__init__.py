"""resnest-edge: a ResNeSt checkpoint goes in, and an engine comes out whose speed and accuracy were measured.

    import resnest_edge

    engine = resnest_edge.load("engines/cam")
    result = engine(pictures)  # (H, W, 3) uint8 RGB each, of any size
    result.probabilities  # (N, classes) float32
    result.top(5)  # the five best classes of each, by name

    async for result in resnest_edge.watch("engines/cam", "rtsp://camera/door"):
        print(result.frame.source, result.frame.frame_id, result.answers)

Names are imported when they are first used, so that ``import resnest_edge`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnest_edge.backends.base import Outputs, Session, SessionOptions
    from resnest_edge.bundle import Bundle, open_bundle
    from resnest_edge.camera.base import Answer, CameraResult, Frame, Sink, SourceCounts, SourceState
    from resnest_edge.camera.capture import CapturePolicy
    from resnest_edge.camera.stream import StreamOptions
    from resnest_edge.errors import ResnestEdgeError
    from resnest_edge.images import transform
    from resnest_edge.pipeline.build import build
    from resnest_edge.pipeline.engine import Engine, Result, load
    from resnest_edge.pipeline.plan import BuildRequest
    from resnest_edge.pipeline.watch import watch
    from resnest_edge.spec import BatchRange, Form, InputFormat, Precision, Preprocessing, Target

__all__ = [
    "Answer",
    "BatchRange",
    "BuildRequest",
    "Bundle",
    "CameraResult",
    "CapturePolicy",
    "Engine",
    "Form",
    "Frame",
    "InputFormat",
    "Outputs",
    "Precision",
    "Preprocessing",
    "ResnestEdgeError",
    "Result",
    "Session",
    "SessionOptions",
    "Sink",
    "SourceCounts",
    "SourceState",
    "StreamOptions",
    "Target",
    "build",
    "load",
    "open_bundle",
    "transform",
    "watch",
]

_HOMES = {
    "Answer": "resnest_edge.camera.base",
    "BatchRange": "resnest_edge.spec",
    "BuildRequest": "resnest_edge.pipeline.plan",
    "Bundle": "resnest_edge.bundle",
    "CameraResult": "resnest_edge.camera.base",
    "CapturePolicy": "resnest_edge.camera.capture",
    "Engine": "resnest_edge.pipeline.engine",
    "Form": "resnest_edge.spec",
    "Frame": "resnest_edge.camera.base",
    "InputFormat": "resnest_edge.spec",
    "Outputs": "resnest_edge.backends.base",
    "Precision": "resnest_edge.spec",
    "Preprocessing": "resnest_edge.spec",
    "ResnestEdgeError": "resnest_edge.errors",
    "Result": "resnest_edge.pipeline.engine",
    "Session": "resnest_edge.backends.base",
    "SessionOptions": "resnest_edge.backends.base",
    "Sink": "resnest_edge.camera.base",
    "SourceCounts": "resnest_edge.camera.base",
    "SourceState": "resnest_edge.camera.base",
    "StreamOptions": "resnest_edge.camera.stream",
    "Target": "resnest_edge.spec",
    "build": "resnest_edge.pipeline.build",
    "load": "resnest_edge.pipeline.engine",
    "open_bundle": "resnest_edge.bundle",
    "transform": "resnest_edge.images",
    "watch": "resnest_edge.pipeline.watch",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, _, other = _HOMES[name].partition(":")
    return getattr(import_module(home), other or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
