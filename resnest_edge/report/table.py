"""The table of a report, once for every format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resnest_edge.report.schema import Report, Row
from resnest_edge.report.words import NONE, SPACE, cell_words, labels, measure, number, percent


@dataclass(frozen=True)
class Cell:
    """A value, and a smaller line that qualifies it."""

    value: str
    detail: str = ""


@dataclass(frozen=True)
class Table:
    """Headings, and a cell for each in every row; the first column names the engine."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


_EMPTY = Cell(NONE)
_Column = Callable[[Row], Cell]


def table(report: Report) -> Table:
    """One row an engine; a column in which nothing was measured is left out."""
    names = labels(report.rows)
    reference = names[0]
    columns: dict[str, _Column] = {
        "Top-1": _top1,
        "Top-5": lambda row: _EMPTY if row.top5 is None else Cell(percent(row.top5)),
        f"Top-1 lost against {reference}, points": _drop,
        f"Agreement with {reference}": lambda row: _EMPTY if row.agreement is None else Cell(percent(row.agreement)),
        "Logit SQNR": _sqnr,
        "Latency p50": _latency,
        f"Speed against {reference}": _speedup,
        "Best throughput": _throughput,
        "Engine size": lambda row: _EMPTY if row.size_mib is None else Cell(measure(row.size_mib, "MiB")),
        "Peak memory": lambda row: _EMPTY if row.peak_rss_mib is None else Cell(measure(row.peak_rss_mib, "MiB")),
    }
    filled = {heading: [column(row) for row in report.rows] for heading, column in columns.items()}
    kept = {heading: cells for heading, cells in filled.items() if any(cell != _EMPTY for cell in cells)}
    engines = [_engine(name, row) for name, row in zip(names, report.rows, strict=True)]
    return Table(("Engine", *kept), tuple(zip(engines, *kept.values(), strict=True)))


def _engine(name: str, row: Row) -> Cell:
    parts = [row.bundle if row.bundle != name else "", row.target, f"{row.form} form" if row.form else ""]
    if row.precision_run not in (None, row.precision):
        parts.append(f"ran in {row.precision_run}")
    return Cell(name, " · ".join(part for part in parts if part))


def _top1(row: Row) -> Cell:
    if row.top1 is None:
        return Cell(NONE, row.reason or "")
    return Cell(percent(row.top1), _range(row.top1_ci95))


def _drop(row: Row) -> Cell:
    return _EMPTY if row.drop is None else Cell(number(row.drop, 2), _range(row.drop_ci95))


def _sqnr(row: Row) -> Cell:
    if row.logits_identical:
        return Cell("identical")
    return _EMPTY if row.logit_sqnr_db is None else Cell(f"{number(row.logit_sqnr_db, 1)}{SPACE}dB")


def _latency(row: Row) -> Cell:
    if row.latency_ms is None or row.latency_batch is None or row.latency_streams is None:
        return _EMPTY
    where = cell_words(row.latency_batch, row.latency_streams)
    return Cell(measure(row.latency_ms["p50"], "ms"), f"p99 {measure(row.latency_ms['p99'], 'ms')} ({where})")


def _speedup(row: Row) -> Cell:
    if row.speedup is None:
        return _EMPTY
    return Cell(f"{number(row.speedup['median'], 2)}×", _range((row.speedup["q25"], row.speedup["q75"])))


def _throughput(row: Row) -> Cell:
    if row.images_per_second is None or row.throughput_batch is None or row.throughput_streams is None:
        return _EMPTY
    return Cell(measure(row.images_per_second, "img/s"), cell_words(row.throughput_batch, row.throughput_streams))


def _range(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"{number(bounds[0], 2)} to {number(bounds[1], 2)}"
