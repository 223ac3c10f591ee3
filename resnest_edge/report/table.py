"""The table of a report, once for every format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resnest_edge.report.schema import Report, Row
from resnest_edge.report.words import (
    NONE,
    SPACE,
    TARGETS,
    between,
    cell_words,
    labels,
    measure,
    number,
    percent,
    signed,
)


@dataclass(frozen=True)
class Cell:
    """A value, and a smaller line that qualifies it."""

    value: str
    detail: str = ""

    @property
    def measured(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.detail) or self.value != NONE


@dataclass(frozen=True)
class Table:
    """Headings, and a cell for each in every row; the first column names the engine. The caption explains them."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str


_EMPTY = Cell(NONE)
_Column = Callable[[Row], Cell]


def table(report: Report) -> Table:
    """One row an engine; a column in which nothing was measured is left out."""
    names = labels(report.rows)
    columns: dict[str, _Column] = {
        "Top-1": _top1,
        "Top-5": lambda row: _EMPTY if row.top5 is None else Cell(percent(row.top5)),
        "Top-1 change, points": _drop,
        "Agreement": _agreement,
        _latency_heading(report): _latency,
        "Speed": _speedup,
        "Best throughput": _throughput,
        "Power": _power,
        "Size": _size,
    }
    filled = {heading: [column(row) for row in report.rows] for heading, column in columns.items()}
    kept = {heading: cells for heading, cells in filled.items() if any(cell.measured for cell in cells)}
    engines = [_engine(name, row, report.rows) for name, row in zip(names, report.rows, strict=True)]
    caption = " ".join(part for part in (_shared(report.rows), *_explained(names[0], set(kept))) if part)
    return Table(("Engine", *kept), tuple(zip(engines, *kept.values(), strict=True)), caption)


def _explained(reference: str, headings: set[str]) -> list[str]:
    text = []
    if "Agreement" in headings:
        text.append(f"Agreement is with {reference}; below it, the signal to noise of the logits.")
    if "Top-1 change, points" in headings:
        text.append(f"Top-1 change is against {reference}: negative is a loss, positive a gain.")
    if "Top-1" in headings:
        text.append(f"Below accuracies stand 95{SPACE}% intervals.")
    if "Speed" in headings:
        text.append(f"Speed is against {reference}; below it, the quartiles of the rounds.")
    if "Best throughput" in headings:
        text.append(f"Below throughputs stand the batch size and their 95{SPACE}% intervals.")
    if "Power" in headings:
        text.append("Power is at the best throughput: images for each joule; below it, the mean power.")
    if "Size" in headings:
        text.append("Size is that of the engine; below it, the most memory its process held (RSS).")
    return text


def _latency_heading(report: Report) -> str:
    cells = {(row.latency_batch, row.latency_streams) for row in report.rows if row.latency_ms is not None}
    batch, streams = cells.pop() if cells else (None, None)
    if cells or batch is None or streams is None:
        return "Median latency"
    return f"Median latency, {cell_words(batch, streams)}"


def _shared(rows: Sequence[Row]) -> str:
    """What all engines have in common; see :func:`_engine` for what they do not."""
    targets, forms = {row.target for row in rows}, {row.form for row in rows}
    parts = [f"on {TARGETS.get(rows[0].target, rows[0].target)}"] if len(targets) == 1 else []
    parts += [f"in the {rows[0].form} form"] if len(forms) == 1 and rows[0].form else []
    return f"All engines run {' '.join(parts)}." if parts and len(rows) > 1 else ""


def _engine(name: str, row: Row, rows: Sequence[Row]) -> Cell:
    target = TARGETS.get(row.target, row.target)
    several = len({other.target for other in rows}) > 1 or len(rows) == 1
    parts = [row.bundle if row.bundle != name else "", target if several and target not in name else ""]
    formed = row.form is not None and (len({other.form for other in rows}) > 1 or len(rows) == 1)
    parts.append(f"{row.form} form" if formed and not name.endswith(f" {row.form}") else "")
    if row.precision_run not in (None, row.precision):
        parts.append(f"ran in {row.precision_run}")
    return Cell(name, " · ".join(part for part in parts if part))


def _top1(row: Row) -> Cell:
    return _EMPTY if row.top1 is None else Cell(percent(row.top1), _range(row.top1_ci95, 1))


def _drop(row: Row) -> Cell:
    return _EMPTY if row.drop is None else Cell(signed(-row.drop), _changes(row.drop_ci95))


def _agreement(row: Row) -> Cell:
    if row.agreement is None:
        return _EMPTY
    if row.logits_identical:
        return Cell(percent(row.agreement), "identical logits")
    noise = "" if row.logit_sqnr_db is None else f"SQNR {number(row.logit_sqnr_db, 1)}{SPACE}dB"
    return Cell(percent(row.agreement), noise)


def _size(row: Row) -> Cell:
    size = NONE if row.size_mib is None else measure(row.size_mib, "MiB")
    return Cell(size, "" if row.peak_rss_mib is None else f"RSS {measure(row.peak_rss_mib, 'MiB')}")


def _power(row: Row) -> Cell:
    if row.power_w is None or row.images_per_joule is None:
        return _EMPTY
    return Cell(measure(row.images_per_joule, "img/J"), measure(row.power_w, "W"))


def _latency(row: Row) -> Cell:
    if row.latency_ms is None:
        return _EMPTY
    return Cell(measure(row.latency_ms["p50"], "ms"), f"p99 {measure(row.latency_ms['p99'], 'ms')}")


def _speedup(row: Row) -> Cell:
    if row.speedup is None:
        return _EMPTY
    return Cell(f"{number(row.speedup['median'], 2)}×", _range((row.speedup["q25"], row.speedup["q75"])))


def _throughput(row: Row) -> Cell:
    if row.images_per_second is None or row.throughput_batch is None or row.throughput_streams is None:
        return _EMPTY
    detail = cell_words(row.throughput_batch, row.throughput_streams)
    if row.images_per_second_ci95 is not None:
        low, high = (measure(bound, "") for bound in row.images_per_second_ci95)
        detail += f": {between(low.strip(), high.strip())}"
    return Cell(measure(row.images_per_second, "img/s"), detail)


def _changes(drops: tuple[float, float] | None) -> str:
    return "" if drops is None else between(signed(-drops[1]), signed(-drops[0]))


def _range(bounds: tuple[float, float] | None, digits: int = 2) -> str:
    return "" if bounds is None else between(number(bounds[0], digits), number(bounds[1], digits))
