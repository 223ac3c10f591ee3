"""What became of every frame: counts and states of all sources, exact and safe to read from any thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Literal

from resnest_edge.camera.base import SourceCounts, SourceState

Kind = Literal["captured", "inferred", "dropped", "failed", "reconnects", "corrupt"]


class Account:
    """Counts frames as they go through a run; after a drained run ``captured == inferred + dropped + failed``.

    Args:
        names: the sources.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._states = dict.fromkeys(names, SourceState.CONNECTING)
        self._counts: dict[str, dict[Kind, int]] = {name: {} for name in names}

    def count(self, source: str, kind: Kind, number: int = 1) -> None:
        """Add to one count of a source."""
        with self._lock:
            counts = self._counts[source]
            counts[kind] = counts.get(kind, 0) + number

    def set_state(self, source: str, state: SourceState) -> None:
        """Say where a source stands now."""
        with self._lock:
            self._states[source] = state

    def state(self, source: str) -> SourceState:
        """Where a source stands."""
        with self._lock:
            return self._states[source]

    def snapshot(self) -> dict[str, SourceCounts]:
        """All counts at one moment; while frames are on their way, ``captured`` is ahead of the rest."""
        with self._lock:
            return {name: SourceCounts(self._states[name], **counts) for name, counts in self._counts.items()}
