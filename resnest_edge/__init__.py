"""resnest-edge: a ResNeSt checkpoint goes in, and an engine comes out whose speed and accuracy were measured.

    import resnest_edge

    with resnest_edge.load("engines/cam") as session:
        answer = session.run(frames)  # (N, S, S, 3) uint8 RGB, resized and cropped
        answer.probabilities  # (N, classes) float32

Names are imported when they are first used, so that ``import resnest_edge`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnest_edge.backends.base import Outputs, Session, SessionOptions
    from resnest_edge.bundle import Bundle, open_bundle
    from resnest_edge.errors import ResnestEdgeError
    from resnest_edge.images import transform
    from resnest_edge.pipeline.build import build
    from resnest_edge.pipeline.plan import BuildRequest
    from resnest_edge.pipeline.runtimes import open_session as load
    from resnest_edge.spec import BatchRange, Form, InputFormat, Precision, Preprocessing, Target

__all__ = [
    "BatchRange",
    "BuildRequest",
    "Bundle",
    "Form",
    "InputFormat",
    "Outputs",
    "Precision",
    "Preprocessing",
    "ResnestEdgeError",
    "Session",
    "SessionOptions",
    "Target",
    "build",
    "load",
    "open_bundle",
    "transform",
]

_HOMES = {
    "BatchRange": "resnest_edge.spec",
    "BuildRequest": "resnest_edge.pipeline.plan",
    "Bundle": "resnest_edge.bundle",
    "Form": "resnest_edge.spec",
    "InputFormat": "resnest_edge.spec",
    "Outputs": "resnest_edge.backends.base",
    "Precision": "resnest_edge.spec",
    "Preprocessing": "resnest_edge.spec",
    "ResnestEdgeError": "resnest_edge.errors",
    "Session": "resnest_edge.backends.base",
    "SessionOptions": "resnest_edge.backends.base",
    "Target": "resnest_edge.spec",
    "build": "resnest_edge.pipeline.build",
    "load": "resnest_edge.pipeline.runtimes:open_session",
    "open_bundle": "resnest_edge.bundle",
    "transform": "resnest_edge.images",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, _, other = _HOMES[name].partition(":")
    return getattr(import_module(home), other or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
