"""What a run came to: the account of every source and sink, and what went wrong for good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from resnest_edge.camera.base import SourceCounts
from resnest_edge.camera.outlets import SinkCounts
from resnest_edge.errors import OutputError, ResnestEdgeError


@dataclass(frozen=True)
class Summary:
    """The account of a run that has drained.

    Attributes:
        seconds: from the first thread's start to the last one's end.
        sources: for each, ``captured == inferred + dropped + failed``.
        sinks: in the order they were given.
        latency_ms: mean and percentiles of each stage over the last 10,000 frames; empty if none was answered.
        swaps: how often the engine was changed.
        source_errors: why a source was given up.
        sink_error: the first thing that a sink could not do.
    """

    seconds: float
    sources: Mapping[str, SourceCounts]
    sinks: tuple[SinkCounts, ...]
    latency_ms: Mapping[str, Mapping[str, float]]
    swaps: int
    source_errors: Mapping[str, ResnestEdgeError]
    sink_error: OutputError | None

    @property
    def error(self) -> ResnestEdgeError | None:
        """What the run should end with, if anything: a source that was given up, else results lost to a sink."""
        return next(iter(self.source_errors.values()), self.sink_error)

    def to_json(self) -> dict[str, Any]:
        """Plain values under the keys of ``run --json``."""
        return {
            "seconds": self.seconds,
            "swaps": self.swaps,
            "sources": [
                {
                    "source": name,
                    **asdict(counts),
                    "state": str(counts.state),
                    "error": str(self.source_errors[name]) if name in self.source_errors else None,
                }
                for name, counts in self.sources.items()
            ],
            "sinks": [asdict(sink) for sink in self.sinks],
            "latency_ms": {stage: dict(values) for stage, values in self.latency_ms.items()},
        }
