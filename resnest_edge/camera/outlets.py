"""All sinks of a run behind one door: a sink that fails is counted and told of, and the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from resnest_edge.camera.base import CameraResult, Sink, SourceCounts
from resnest_edge.errors import OutputError


@dataclass(frozen=True)
class SinkCounts:
    """A sink's account.

    Attributes:
        name: of the sink.
        written: results it took.
        failed: results it could not take; they are lost to it.
    """

    name: str
    written: int = 0
    failed: int = 0


class Outlets:
    """Hands results to every sink, from one thread.

    Args:
        sinks: in order.
        tell: told of a sink's first failure and of its first success after one.
        strict: whether the first failure is raised.
    """

    def __init__(self, sinks: Sequence[Sink], tell: Callable[[str], None], *, strict: bool = False) -> None:
        self._sinks, self._tell, self._strict = tuple(sinks), tell, strict
        self._written, self._failed = [0] * len(sinks), [0] * len(sinks)
        self._broken = [False] * len(sinks)
        self._closed = False
        self.error: OutputError | None = None

    def write(self, result: CameraResult) -> None:
        """Give one result to every sink.

        Raises:
            OutputError: a sink cannot take it, and this is strict.
        """
        for index, sink in enumerate(self._sinks):
            try:
                sink.write(result)
            except (OutputError, OSError) as exc:
                self._failed[index] += 1
                self._fail(index, exc)
            else:
                self._written[index] += 1
                if self._broken[index]:
                    self._broken[index] = False
                    self._tell(f"{sink.name}: writing again; {self._failed[index]} results are lost")

    def status(self, counts: Mapping[str, SourceCounts]) -> None:
        """Give the sources' accounts to every sink."""
        for index, sink in enumerate(self._sinks):
            try:
                sink.status(counts)
            except (OutputError, OSError) as exc:
                self._fail(index, exc)

    def close(self) -> None:
        """Close every sink, whatever another one says; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        for index, sink in enumerate(self._sinks):
            try:
                sink.close()
            except (OutputError, OSError) as exc:
                self._strict = False  # there is nothing left to end
                self._fail(index, exc)

    def counts(self) -> tuple[SinkCounts, ...]:
        """Every sink's account, in order."""
        rows = zip(self._sinks, self._written, self._failed, strict=True)
        return tuple(SinkCounts(sink.name, written, failed) for sink, written, failed in rows)

    def _fail(self, index: int, exc: OutputError | OSError) -> None:
        sink = self._sinks[index]
        error = exc if isinstance(exc, OutputError) else OutputError(f"cannot be written ({exc})", where=sink.name)
        self.error = self.error or error
        if self._strict:
            self._strict = False  # once is enough: what follows is the end
            raise error from exc
        if not self._broken[index]:
            self._broken[index] = True
            self._tell(f"{sink.name}: {error}")
