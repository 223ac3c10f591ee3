"""What a viewer shows of a run: each source's last answer, rate and latencies. One thread tells, many may look."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import numpy as np

from resnest_edge.camera.base import CameraResult, SourceCounts, SourceState
from resnest_edge.camera.sinks.record import counts_json, to_json

WINDOW_S = 10.0
"""Seconds of results that rates and latencies are taken over."""

_MOST = 2000
_UNHEALTHY = (SourceState.STALLED, SourceState.RECONNECTING, SourceState.FAILED)


@runtime_checkable
class Counting(Protocol):
    """A sink that keeps counters of its own."""

    name: str

    def counters(self) -> Mapping[str, int]:
        """Counters by name, from any thread."""
        ...


@dataclass(frozen=True)
class View:
    """One source, as a viewer shows it.

    Attributes:
        result: the last one, if any.
        counts: the last account, if any.
        rate: answers a second in the last ``WINDOW_S`` seconds: intervals, not results, over their time.
        p50_ms: median, over the same results, of the milliseconds from capture to answer; None without results.
        p90_ms: likewise, the 90th percentile.
    """

    result: CameraResult | None
    counts: SourceCounts | None
    rate: float
    p50_ms: float | None
    p90_ms: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for a page."""
        return {
            "last": None if self.result is None else to_json(self.result),
            "counts": None if self.counts is None else counts_json(self.counts),
            "rate": round(self.rate, 2),
            "p50_ms": self.p50_ms,
            "p90_ms": self.p90_ms,
        }


@dataclass
class _Source:
    result: CameraResult | None = None
    counts: SourceCounts | None = None
    recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_MOST))


class Tally:
    """Collects results and accounts; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: dict[str, _Source] = {}
        self._told: float | None = None
        self._peers: tuple[Counting, ...] = ()

    def watch(self, peers: Sequence[Counting]) -> None:
        """Show these sinks' counters as well."""
        self._peers = tuple(peers)

    def add(self, result: CameraResult) -> None:
        """Take one result."""
        now = perf_counter()
        with self._lock:
            source = self._sources.setdefault(result.frame.source, _Source())
            source.result = result
            source.recent.append((now, result.latency_ms.get("total", 0.0)))

    def status(self, counts: Mapping[str, SourceCounts]) -> None:
        """Take the sources' accounts."""
        with self._lock:
            self._told = perf_counter()
            for name, account in counts.items():
                self._sources.setdefault(name, _Source()).counts = account

    def views(self) -> dict[str, View]:
        """Every source, by name, in the order in which they appeared."""
        now = perf_counter()
        with self._lock:
            return {name: _view(source, now) for name, source in self._sources.items()}

    def counters(self) -> dict[str, dict[str, int]]:
        """The other sinks' counters, by sink."""
        return {peer.name: dict(peer.counters()) for peer in self._peers}

    def troubles(self, patience_s: float) -> list[str]:
        """What is wrong now: sources that give no frames, or a run that has told nothing for ``patience_s``."""
        now = perf_counter()
        with self._lock:
            bad = [
                f"source {name} is {source.counts.state}"
                for name, source in self._sources.items()
                if source.counts is not None and source.counts.state in _UNHEALTHY
            ]
            if self._told is None:
                return ["the run has not begun"]
            if now - self._told > patience_s:
                bad.append(f"the run has told nothing for {now - self._told:.0f} s")
        return bad


def _view(source: _Source, now: float) -> View:
    recent = [item for item in source.recent if now - item[0] <= WINDOW_S]
    times, latencies = [item[0] for item in recent], [item[1] for item in recent]
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
    p50, p90 = (round(float(value), 3) for value in np.percentile(latencies, (50, 90))) if latencies else (None, None)
    return View(source.result, source.counts, rate, p50, p90)
