"""Two reports side by side: what changed, what cannot be compared and why, and which lines were crossed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from resnest_edge.report.comparable import differences, other_device, why_not
from resnest_edge.report.gates import Gate
from resnest_edge.report.metrics import METRICS, Metric
from resnest_edge.report.schema import Report, Row
from resnest_edge.report.words import SPACE, cell_words, labels, measure, number, percent

SCHEMA = 1
PASSED, FAILED, UNKNOWN = "passed", "failed", "not comparable"
SAME = "the same"


@dataclass(frozen=True)
class Change:
    """One metric of one engine, at one batch size and number of streams where it has such.

    Attributes:
        engine: short name.
        bundle: name in the new report, or in the old one where it is gone.
        metric: its name for ``--fail-on``.
        batch: images per inference; None for a metric of the whole engine.
        streams: inferences in flight; likewise.
        unit: of ``old``, ``new`` and ``worse``.
        old: before; None where it was not measured.
        new: after; likewise.
        worse: by how much it became worse, in its unit; negative where it became better.
        worse_percent: the same in percent of the old value; None for accuracies, whose changes are points.
        reason: why it cannot be compared; None where it can.
    """

    engine: str
    bundle: str
    metric: str
    batch: int | None
    streams: int | None
    unit: str
    old: float | None
    new: float | None
    worse: float | None
    worse_percent: float | None
    reason: str | None


@dataclass(frozen=True)
class Check:
    """One line held against one change.

    Attributes:
        gate: the line, such as ``latency>5%``.
        engine: short name.
        batch: images per inference; None for a metric of the whole engine.
        streams: inferences in flight; likewise.
        outcome: ``passed``, ``failed`` or ``not comparable``; only ``passed`` lets the command succeed.
        words: what was found, as a sentence without a final full stop.
    """

    gate: str
    engine: str
    batch: int | None
    streams: int | None
    outcome: str
    words: str


@dataclass(frozen=True)
class Comparison:
    """Two reports compared.

    Attributes:
        old: title and date of the old report.
        new: title and date of the new one.
        changes: every metric of every engine.
        checks: every line of ``--fail-on`` held against every change of its metric.
        differences: what else differs: (what, old, new).
        notes: sentences, such as of engines that only one report has.
    """

    old: Mapping[str, str]
    new: Mapping[str, str]
    changes: tuple[Change, ...]
    checks: tuple[Check, ...]
    differences: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]

    @property
    def crossed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if check.outcome != PASSED)

    def to_json(self) -> dict[str, Any]:
        """Plain values, the schema version first."""
        return {"schema": SCHEMA, "passed": not self.crossed, **asdict(self)}


def compare_reports(old: Report, new: Report, gates: Sequence[Gate] = ()) -> Comparison:
    """Compare two reports, engine by engine.

    Engines belong together by their bundle's name, else by model, size, target, precision and form, where only one in
    each report has them. Only figures of the same model, and for speed of the same machine, batch size and streams,
    are compared; every other counts as crossing the lines drawn for it.
    """
    pairs = _pairs(old, new)
    changes = tuple(change for name, before, after in pairs for change in _changes(name, before, after, old, new))
    known = {after.bundle for _, _, after in pairs if after is not None}
    notes = [f"{row.bundle} is only in the new report" for row in new.rows if row.bundle not in known]
    notes += [f"{before.bundle} is only in the old report" for _, before, after in pairs if after is None]
    notes += [
        f"{before.bundle} of the old report was compared with {after.bundle} of the new one"
        for _, before, after in pairs
        if after is not None and after.bundle != before.bundle
    ]
    notes += [
        f"{after.bundle} at {cell_words(*cell)} is only in the new report"
        for _, before, after in pairs
        if after is not None
        for cell in _cells(new, after).keys() - _cells(old, before).keys()
    ]
    checks = tuple(_check(gate, change) for gate in gates for change in changes if change.metric == gate.metric.name)
    bare = [gate for gate in gates if not any(change.metric == gate.metric.name for change in changes)]
    checks += tuple(
        Check(str(gate), "–", None, None, UNKNOWN, f"{gate.metric.name} is in neither report") for gate in bare
    )
    heads = [{"title": report.title, "created": report.created} for report in (old, new)]
    return Comparison(heads[0], heads[1], changes, checks, differences(old, new), tuple(notes))


def _pairs(old: Report, new: Report) -> list[tuple[str, Row, Row | None]]:
    """Every engine of the old report with its short name, and the engine of the new report that it became."""
    later = {row.bundle: row for row in new.rows}
    free = [row for row in new.rows if row.bundle not in {one.bundle for one in old.rows}]
    pairs = []
    for name, row in zip(labels(old.rows), old.rows, strict=True):
        found = later.get(row.bundle)
        if found is None:
            alike = [one for one in free if _kind(one) == _kind(row)]
            alone = sum(_kind(one) == _kind(row) for one in old.rows) == 1
            found = alike[0] if len(alike) == 1 and alone else None
        pairs.append((name, row, found))
    return pairs


def _kind(row: Row) -> tuple[object, ...]:
    return (row.model, row.image_size, row.target, row.precision, row.form)


def _changes(name: str, before: Row, after: Row | None, old: Report, new: Report) -> Iterator[Change]:
    first = before is old.rows[0] and (after is None or after is new.rows[0])
    for metric in METRICS.values():
        if metric.against_reference and first:
            continue
        if metric.of_row is not None:
            values = (metric.of_row(before), None if after is None else metric.of_row(after))
            if values != (None, None):
                yield _change((name, before.bundle), metric, None, values, _reason(metric, old, new, before, after))
        else:
            yield from _cell_changes(name, metric, before, after, old, new)


def _cell_changes(
    name: str, metric: Metric, before: Row, after: Row | None, old: Report, new: Report
) -> Iterator[Change]:
    read = metric.of_cell or (lambda _: None)
    earlier, later = _cells(old, before), {} if after is None else _cells(new, after)
    reason = _reason(metric, old, new, before, after)
    for cell in earlier:  # what only the new report measured has nothing to be compared with: a note tells of it
        results = (earlier[cell], later.get(cell))
        values = tuple(None if result is None else read(result) for result in results)
        if values != (None, None):
            pair = (values[0], values[1])
            yield _change((name, before.bundle), metric, cell, pair, reason or other_device(*results))


def _cells(report: Report, row: Row) -> dict[tuple[int, int], Mapping[str, Any]]:
    mine = [result for result in report.benchmark if result["bundle"] == row.bundle]
    return {(result["batch"], result["streams"]): result for result in mine}


def _reason(metric: Metric, old: Report, new: Report, before: Row, after: Row | None) -> str | None:
    if after is None:
        return f"{before.bundle} is not in the new report"
    return why_not(metric.kind, old, new, before, after)


def _change(
    names: tuple[str, str],
    metric: Metric,
    cell: tuple[int, int] | None,
    values: tuple[float | None, float | None],
    reason: str | None,
) -> Change:
    old, new = values
    batch, streams = cell or (None, None)
    if reason is None and (old is None or new is None):
        where = "" if cell is None else f" at {cell_words(*cell)}"
        reason = f"{metric.heading.lower()}{where} is not in the {'old' if old is None else 'new'} report"
    worse = share = None
    if reason is None and old is not None and new is not None:
        worse = metric.worse_by(old, new)
        share = None if metric.points or old == 0 else 100 * worse / abs(old)
    return Change(*names, metric.name, batch, streams, metric.unit, old, new, worse, share, reason)


def amount_words(change: Change) -> str:
    """What became of a metric: ``16.0 ms → 17.1 ms, 6.9 % worse``."""
    if change.old is None or change.new is None:
        return change.reason or "not measured"
    words = f"{value_words(change.metric, change.old)} → {value_words(change.metric, change.new)}"
    return words if change.worse is None else f"{words}, {change_amount(change)}"


def change_amount(change: Change) -> str:
    """``6.9 % worse``, ``0.30 points better``, ``the same``; empty where it cannot be compared."""
    if change.worse is None:
        return ""
    size, unit, digits = abs(change.worse), change.unit, 2
    if METRICS[change.metric].points:
        unit = "points" if change.unit == "%" else change.unit
    elif change.worse_percent is not None:
        size, unit, digits = abs(change.worse_percent), "%", 1
    text = number(size, digits)
    same = float(text.replace(",", "")) == 0
    return SAME if same else f"{text}{SPACE}{unit} {'worse' if change.worse > 0 else 'better'}"


def value_words(metric: str, value: float) -> str:
    """A value of a metric with its unit."""
    unit = METRICS[metric].unit
    return percent(value) if unit == "%" else measure(value, unit)


def _check(gate: Gate, change: Change) -> Check:
    if change.reason is not None or change.old is None or change.new is None:
        outcome, words = UNKNOWN, change.reason or "not measured"
    else:
        crossed = gate.crossed(change.old, change.new)
        outcome, words = FAILED if crossed else PASSED, amount_words(change)
    return Check(str(gate), change.engine, change.batch, change.streams, outcome, words)
