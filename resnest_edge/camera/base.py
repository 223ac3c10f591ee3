"""What flows behind a camera: frames in, results out. No I/O here, and nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

import numpy as np
import numpy.typing as npt


class SourceState(str, Enum):
    """Where a source stands; every change is counted and shown."""

    CONNECTING = "connecting"
    STREAMING = "streaming"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    ENDED = "ended"
    FAILED = "failed"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Frame:
    """One decoded picture of a source.

    Attributes:
        source: name of the source, unique within a run.
        frame_id: counts the frames this source captured, from 0, over reconnects as well.
        captured_at: wall clock in UTC, for people and logs.
        captured: ``time.perf_counter()`` at capture, seconds; what latencies are measured from.
        image: (H, W, 3) uint8 RGB.
        name: the picture's own name where it has one, such as a file of an image folder; else empty.
    """

    source: str
    frame_id: int
    captured_at: datetime
    captured: float
    image: npt.NDArray[np.uint8]
    name: str = ""


@dataclass(frozen=True)
class Answer:
    """One class an engine named.

    Attributes:
        index: class index.
        label: its name from the bundle's ``labels.txt``.
        probability: 0 to 1, after smoothing where that is on.
    """

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class CameraResult:
    """What became of one frame.

    Attributes:
        frame: the picture that was classified.
        answers: the top-k classes at or above the threshold, most probable first; may be empty.
        latency_ms: milliseconds per stage (``queue``, ``preprocess``, ``infer``) and ``total`` from capture to answer.
        bundle: path of the bundle that answered; it changes when the engine is swapped.
    """

    frame: Frame
    answers: tuple[Answer, ...]
    latency_ms: Mapping[str, float]
    bundle: str


@dataclass(frozen=True)
class SourceCounts:
    """A source's account; after a drained run ``captured == inferred + dropped + failed``, exactly.

    Attributes:
        state: where the source stands.
        captured: frames decoded.
        inferred: frames answered and handed to the sinks.
        dropped: frames given up for newer ones, by policy.
        failed: frames whose inference or preprocessing failed.
        reconnects: times the source was opened again.
        corrupt: packets that the decoder refused: no frame came of them, so ``captured`` does not hold them.
    """

    state: SourceState
    captured: int = 0
    inferred: int = 0
    dropped: int = 0
    failed: int = 0
    reconnects: int = 0
    corrupt: int = 0


class Sink(Protocol):
    """Takes results, in the order of each source's frames, from one thread."""

    name: str

    def write(self, result: CameraResult) -> None:
        """Take one result.

        Raises:
            OutputError: it cannot be written; the stream counts the failure and goes on, or ends if told to.
        """

    def status(self, counts: Mapping[str, SourceCounts]) -> None:
        """Take the sources' accounts, about once a second and once at the end."""

    def close(self) -> None:
        """Flush and free; a second call does nothing."""
