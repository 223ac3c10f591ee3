"""Results of a camera without one: pictures that are told apart, and answers to go with them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from time import perf_counter

import numpy as np

from resnest_edge.camera.base import Answer, CameraResult, Frame, SourceCounts, SourceState
from tests.support.video import stamped

LABELS = ("cat", "dog", "grey whale")
BEGAN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)


def result(
    frame_id: int = 0,
    label: str = "cat",
    *,
    source: str = "door",
    probability: float = 0.75,
    width: int = 64,
    height: int = 48,
    captured: float | None = None,
    bundle: str = "engines/cam",
) -> CameraResult:
    """A result whose picture spells its frame id, captured at 25 frames a second."""
    frame = Frame(
        source=source,
        frame_id=frame_id,
        captured_at=BEGAN + timedelta(milliseconds=40 * frame_id),
        captured=perf_counter() if captured is None else captured,
        image=stamped(frame_id, width, height),
    )
    answers = (Answer(LABELS.index(label) if label in LABELS else 0, label, probability),) if label else ()
    latency = {"queue": 0.5, "preprocess": 1.25, "infer": 6.0, "total": 8.0 + frame_id}
    return CameraResult(frame, answers, latency, bundle)


def plain(frame_id: int, level: int, label: str, *, width: int = 320, height: int = 240) -> CameraResult:
    """A result whose picture is of one grey, 25 a second."""
    frame = Frame("door", frame_id, BEGAN, frame_id / 25, np.full((height, width, 3), level, np.uint8))
    return CameraResult(frame, (Answer(0, label, 0.9),), {"total": 1.0}, "engines/cam")


def counts(state: SourceState = SourceState.STREAMING, **values: int) -> SourceCounts:
    """An account."""
    return SourceCounts(state, **values)
