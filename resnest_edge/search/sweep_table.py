"""A sweep's one table at the end, and its files: JSON, which is the journal, Markdown with its pictures, and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resnest_edge.files import write_text
from resnest_edge.report.csv_file import to_csv
from resnest_edge.report.markdown import bullets, escape, table_lines
from resnest_edge.report.svg import standalone
from resnest_edge.report.table import Cell, Table
from resnest_edge.report.words import NONE, between, cell_words, measure, percent, signed, when
from resnest_edge.search.sweep_journal import SweepFile, SweepRow
from resnest_edge.search.sweep_plots import growth_plots

MARKDOWN_NAME, CSV_NAME = "sweep.md", "sweep.csv"
_NAMES = ("variant", "image_size", "form", "target", "precision")
_LATENCY = ("mean", "p50", "p90", "p95", "p99")
_SPEED = ("images_per_second", "cv", "samples", "peak_rss_mib", "power_w", "images_per_joule")
CSV_COLUMNS = (
    *_NAMES,
    "status",
    "node",
    "precision_run",
    "top1",
    "drop",
    "agreement",
    "evaluated_images",
    "size_mib",
    "build_seconds",
    "batch",
    "streams",
    *(f"latency_{name}_ms" for name in _LATENCY),
    *_SPEED,
    "images_per_second_low",
    "images_per_second_high",
    "reason",
)
"""One line for each cell, batch size and number of streams; a failed cell has one, with its reason."""


def sweep_table(rows: Sequence[SweepRow]) -> Table:
    """One row a cell; columns in which nothing differs or nothing was measured are left out."""
    several = len({row.node for row in rows if not row.failed}) > 1
    columns = {
        "Network": [Cell(f"{row.variant} {row.image_size}", row.form) for row in rows],
        "Target": [Cell(row.target) for row in rows],
        "Precision": [_precision(row) for row in rows],
        "Top-1": [Cell(NONE if row.top1 is None else percent(row.top1), _top1_range(row)) for row in rows],
        "Top-1 change, points": [Cell(NONE if row.drop is None else signed(-row.drop), _changes(row)) for row in rows],
        "Median latency": [_latency(row) for row in rows],
        "Best throughput": [_throughput(row) for row in rows],
        "Size": [Cell(NONE if row.size_mib is None else measure(row.size_mib, "MiB")) for row in rows],
        "Build": [Cell(NONE if row.build_seconds is None else measure(row.build_seconds, "s")) for row in rows],
        "Node": [Cell(row.node if several else NONE) for row in rows],
        "Failed": [Cell(row.reason or NONE) if row.failed else Cell(NONE) for row in rows],
    }
    kept = {name: cells for name, cells in columns.items() if any(cell.measured for cell in cells)}
    caption = "Median latency is at the smallest batch and fewest streams, throughput at the best. "
    caption += "Cells were measured one after the other: for a ratio to rely on, benchmark the two together."
    return Table(tuple(kept), tuple(zip(*kept.values(), strict=True)), caption)


def write_pages(file: SweepFile, rows: Sequence[SweepRow], folder: Path) -> tuple[Path, ...]:
    """Write ``sweep.md``, its pictures and ``sweep.csv`` beside the journal."""
    pages = {
        folder / MARKDOWN_NAME: render_markdown(file, rows),
        **{folder / plot.file: standalone(plot.picture) for plot in growth_plots(rows)},
        folder / CSV_NAME: to_csv(CSV_COLUMNS, [line for row in rows for line in _lines(row)]),
    }
    for path, text in pages.items():
        write_text(path, text)
    return tuple(pages)


def render_markdown(file: SweepFile, rows: Sequence[SweepRow]) -> str:
    """The table for people."""
    shown = sweep_table(rows)
    failed = sum(row.failed for row in rows)
    warned = sum(bool(row.warnings) for row in rows)
    told = [f"{failed} of {len(rows)} cells failed"] if failed else []
    told += [f"{warned} of {len(rows)} cells have warnings, which sweep.json holds"] if warned else []
    environment = file.environment
    machine = f"{environment.get('cpu')}, {environment.get('cores')} cores"
    sections = [
        "# Sweep",
        table_lines(shown.headings, shown.rows),
        escape(shown.caption),
        *(f"![{plot.heading}]({plot.file})" for plot in growth_plots(rows)),
        *bullets("Notes", [*file.notes, *told]),
        f"Begun {escape(when(file.created))} on {escape(machine)}:",
        f"```sh\n{file.command}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _lines(row: SweepRow) -> list[dict[str, Any]]:
    own = {name: getattr(row, name) for name in CSV_COLUMNS if hasattr(row, name)}
    return [{**own, **_of_result(result)} for result in row.results] or [own]


def _of_result(result: Any) -> dict[str, Any]:
    low, high = result["images_per_second_ci95"] or (None, None)
    return {
        "batch": result["batch"],
        "streams": result["streams"],
        **{f"latency_{name}_ms": result["latency_ms"][name] for name in _LATENCY},
        **{name: result[name] for name in _SPEED},
        "images_per_second_low": low,
        "images_per_second_high": high,
    }


def _precision(row: SweepRow) -> Cell:
    ran = "" if row.precision_run in (None, row.precision) else f"ran in {row.precision_run}"
    return Cell(row.precision, ran)


def _top1_range(row: SweepRow) -> str:
    return "" if row.top1_ci95 is None else between(*(f"{bound:.1f}" for bound in row.top1_ci95))


def _changes(row: SweepRow) -> str:
    return "" if row.drop_ci95 is None else between(signed(-row.drop_ci95[1]), signed(-row.drop_ci95[0]))


def _latency(row: SweepRow) -> Cell:
    if not row.results:
        return Cell(NONE)
    alone = min(row.results, key=lambda result: (result["streams"], result["batch"]))
    latency = alone["latency_ms"]
    return Cell(measure(latency["p50"], "ms"), f"p99 {measure(latency['p99'], 'ms')}")


def _throughput(row: SweepRow) -> Cell:
    if not row.results:
        return Cell(NONE)
    best = max(row.results, key=lambda result: float(result["images_per_second"]))
    return Cell(measure(best["images_per_second"], "img/s"), cell_words(best["batch"], best["streams"]))
