"""Cells of a sweep on this machine: one at a time, in a process that may die without taking the sweep with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

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
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                while rest:
                    cell = rest.pop(0)
                    try:
                        row = process.submit(self._work, cell, settings).result()
                    except BrokenProcessPool:
                        yield failed_row(cell, DIED, BUG)
                        break
                    yield row
