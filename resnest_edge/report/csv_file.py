"""A report as CSV: one line for each engine, batch size and number of streams, for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resnest_edge.report.schema import Report, Row

_ROW = ("bundle", "model", "image_size", "target", "precision", "precision_run", "form", "size_mib")
_ACCURACY = ("images", "top1", "top5", "drop", "agreement", "logit_sqnr_db")
_BOUNDS = ("top1_ci95", "drop_ci95")
_LATENCY = ("mean", "p50", "p90", "p95", "p99")
_SPEED = ("images_per_second", "cv", "samples", "rounds", "peak_rss_mib", "power_w", "images_per_joule")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

COLUMNS = (
    *_ROW,
    *_ACCURACY,
    *(f"{name}_{end}" for name in _BOUNDS for end in ("low", "high")),
    "batch",
    "streams",
    *(f"latency_{name}_ms" for name in _LATENCY),
    *_SPEED,
    "images_per_second_low",
    "images_per_second_high",
    "speedup",
    "speedup_q25",
    "speedup_q75",
)
"""The columns: units as in ``report.json``; ``low`` and ``high`` are the ends of 95 % intervals."""


def render_csv(report: Report) -> str:
    """The text of the file; what was not measured is empty, and an engine without any speed has one line."""
    lines = []
    for row in report.rows:
        results: Sequence[Mapping[str, Any] | None] = [
            result for result in report.benchmark if result["bundle"] == row.bundle
        ]
        lines += [{**_of_row(row), **_of_result(result, report)} for result in results or [None]]
    return to_csv(COLUMNS, lines)


def to_csv(columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    """CSV with one heading line; text that a spreadsheet would take for a formula is quoted with an apostrophe."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n", extrasaction="raise", restval="")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in line.items()} for line in lines)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _of_row(row: Row) -> dict[str, Any]:
    line = {name: getattr(row, name) for name in (*_ROW, *_ACCURACY)}
    for name in _BOUNDS:
        line |= _ends(name, getattr(row, name))
    return line


def _of_result(result: Mapping[str, Any] | None, report: Report) -> dict[str, Any]:
    if result is None:
        return {}
    key = (result["bundle"], result["batch"], result["streams"])
    found = [one["speedup"] for one in report.ratios if (one["bundle"], one["batch"], one["streams"]) == key]
    speedup = found[0] if found else {}
    return {
        "batch": result["batch"],
        "streams": result["streams"],
        **{f"latency_{name}_ms": result["latency_ms"].get(name) for name in _LATENCY},
        **{name: result.get(name) for name in _SPEED},
        **_ends("images_per_second", result.get("images_per_second_ci95")),
        "speedup": speedup.get("median"),
        "speedup_q25": speedup.get("q25"),
        "speedup_q75": speedup.get("q75"),
    }


def _ends(name: str, bounds: Sequence[float] | None) -> dict[str, Any]:
    low, high = bounds or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}
