"""What other processes do with a cell in the tests, in place of building and measuring."""

from __future__ import annotations

import os
import signal

from resnest_edge.search.sweep import Cell, Settings
from resnest_edge.search.sweep_cell import failed_row
from resnest_edge.search.sweep_journal import DONE, SweepRow
from resnest_edge.spec import Precision


def measured(cell: Cell, settings: Settings, node: str = "here") -> SweepRow:
    """A row as a measurement would give it."""
    latency = dict.fromkeys(("mean", "p50", "p90", "p95", "p99"), 2.0)
    result = {
        "bundle": cell.key,
        "target": str(cell.target),
        "precision": str(cell.precision),
        "rounds": 1,
        "load_seconds": 0.1,
        "settings": {},
        "timings_ms": {},
        "batch": 1,
        "streams": 1,
        "latency_ms": latency,
        "images_per_second": 500.0,
        "images_per_second_ci95": [480.0, 510.0],
        "cv": 0.01,
        "samples": 100,
        "peak_rss_mib": 90.0,
        "power_w": None,
        "images_per_joule": None,
    }
    fields = {**vars(cell), "form": str(cell.form), "target": str(cell.target), "precision": str(cell.precision)}
    return SweepRow(key=cell.key, **fields, status=DONE, node=node, size_mib=2.0, build_seconds=1.0, results=(result,))


def where(cell: Cell, settings: Settings) -> SweepRow:
    """A row whose node is the process it was made in."""
    return measured(cell, settings, str(os.getpid()))


def dies_of_int8(cell: Cell, settings: Settings) -> SweepRow:
    """Kill the process that works on an INT8 cell, as a lack of memory would."""
    if cell.precision is Precision.INT8:
        os.kill(os.getpid(), signal.SIGKILL)
    return where(cell, settings)


def refuses_fp16(cell: Cell, settings: Settings) -> SweepRow:
    """A failure of one precision, told as such."""
    if cell.precision is Precision.FP16:
        return failed_row(cell, "no FP16 here", 2, node="here")
    return measured(cell, settings)
