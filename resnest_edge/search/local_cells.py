"""Cells of a sweep on this machine: one at a time, in a process that may die without taking the sweep with it."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType

from resnest_edge.search.sweep import Cell, Settings, Work
from resnest_edge.search.sweep_cell import BUG, failed_row, run_cell
from resnest_edge.search.sweep_journal import SweepRow

DIED = "the process that built and measured it died; memory may have run out"


class LocalCells:
    """A ``Runner`` of :mod:`resnest_edge.search.sweep` on this machine.

    Args:
        work: what is done with a cell; a module-level function, because another process imports it.
    """

    def __init__(self, work: Work = run_cell) -> None:
        self._work = work

    def run(self, cells: Sequence[Cell], settings: Settings) -> Iterator[SweepRow]:
        """One row for each cell, in order; a process that died is replaced by a new one."""
        rest = list(cells)
        while rest:
            with _Process(self._work) as process:
                while rest:
                    cell = rest.pop(0)
                    row = process.row(cell, settings)
                    yield failed_row(cell, DIED, BUG) if row is None else row
                    if row is None:
                        break


class _Process:
    """A process that works on cells; it is killed, and its scratch files removed, when the block ends."""

    def __init__(self, work: Work) -> None:
        context = get_context("spawn")  # a fork of a process in which a runtime has threads may hang
        self._scratch = tempfile.TemporaryDirectory(prefix="resnest-edge-sweep-")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work, self._scratch.name), name="sweep")
        self._process.start()
        theirs.close()

    def row(self, cell: Cell, settings: Settings) -> SweepRow | None:
        """What came of a cell; None where the process died of it."""
        try:
            self._ours.send((cell, settings))
            row: SweepRow = self._ours.recv()
        except (EOFError, ConnectionError, BrokenPipeError):
            return None
        return row

    def __enter__(self) -> _Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ours.close()
        self._process.kill()
        self._process.join()
        self._scratch.cleanup()


def _serve(channel: Connection, work: Work, scratch: str) -> None:
    """Answer cells until the other end closes; Ctrl-C is the parent's, which then kills this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = scratch
    while True:
        try:
            cell, settings = channel.recv()
        except EOFError:
            return
        channel.send(work(cell, settings))
