"""A comparison as a table for every format: Markdown for a pull request, one HTML page, the terminal, files on disk."""

from __future__ import annotations

from pathlib import Path

from resnest_edge.files import refuse_existing, write_text
from resnest_edge.report.comparison import (
    FAILED,
    PASSED,
    SAME,
    Change,
    Check,
    Comparison,
    change_amount,
    value_words,
)
from resnest_edge.report.html import render_page
from resnest_edge.report.markdown import bullets, escape, table_lines
from resnest_edge.report.metrics import METRICS, SHOWN
from resnest_edge.report.schema import dump_plain
from resnest_edge.report.table import Cell, Table
from resnest_edge.report.words import NONE, SPACE, cell_words, number, when

JSON_NAME, MARKDOWN_NAME, HTML_NAME = "compare.json", "compare.md", "compare.html"
_COLUMNS = ("Engine", "Metric", "Old", "New", "Change", "Gate")


def verdict(found: Comparison) -> str:
    """What came of it, in one sentence."""
    if not found.checks:
        return "Nothing was held to a limit: --fail-on draws one."
    crossed = found.crossed
    if not crossed:
        count = len(found.checks)
        return f"All {count} checks passed." if count > 1 else "The check passed."
    failed = sum(check.outcome == FAILED for check in crossed)
    unknown = len(crossed) - failed
    parts = [f"{failed} failed"] if failed else []
    parts += [f"{unknown} could not be made"] if unknown else []
    return f"Of {len(found.checks)} checks, {' and '.join(parts)}."


def sentences(found: Comparison) -> list[str]:
    """Every check that did not pass: where, and why."""
    return [f"{check.gate}: {_where(check)}: {check.words}" for check in found.crossed]


def comparison_table(found: Comparison) -> Table:
    """What changed of the metrics that matter most, and each that a line was drawn for."""
    held = {_key(check): check for check in found.checks}
    rows, same = [], 0
    for change in found.changes:
        check = held.get((change.metric, change.engine, change.batch, change.streams))
        unmoved = change.reason is None and change_amount(change) == SAME
        if check is not None or (change.metric in SHOWN and change.reason is None and not unmoved):
            rows.append(_row(change, check))
        same += check is None and unmoved and change.metric in SHOWN
    left_out = f" {same} figures that did not change are left out." if same else ""
    return Table(_COLUMNS, tuple(rows), f"Worse and better are from the old report to the new one.{left_out}")


def not_comparable(found: Comparison) -> list[str]:
    """Why figures could not be compared, each reason of an engine once."""
    reasons = (f"{change.engine}: {change.reason}" for change in found.changes if change.reason is not None)
    return list(dict.fromkeys(reasons))


def render_comparison_markdown(found: Comparison) -> str:
    """For a pull request: the verdict, what did not pass, the table, what else differs."""
    shown = comparison_table(found)
    sections = [
        f"### {escape(found.new['title'])}: what changed",
        f"**{escape(verdict(found))}** {escape(_reports(found))}",
        *bullets("Not passed", sentences(found)),
        *([table_lines(shown.headings, shown.rows)] if shown.rows else []),
        escape(shown.caption),
        *bullets("Not comparable", not_comparable(found)),
        *bullets("What else differs", _differences(found)),
        *bullets("Notes", found.notes),
    ]
    return "\n\n".join(sections) + "\n"


def render_comparison_html(found: Comparison) -> str:
    """One page that needs nothing else."""
    return render_page(
        "comparison.html.j2",
        title=f"{found.new['title']}: what changed",
        verdict=verdict(found),
        reports=_reports(found),
        crossed=sentences(found),
        table=comparison_table(found),
        not_comparable=not_comparable(found),
        differences=found.differences,
        notes=found.notes,
    )


def write_comparison(found: Comparison, folder: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write ``compare.json``, ``compare.md`` and ``compare.html`` into ``folder``; other files there stay.

    Raises:
        OutputError: one of the files exists and ``force`` is not given, or cannot be written.
    """
    rendered = {
        folder / JSON_NAME: dump_plain(found.to_json(), "the comparison"),
        folder / MARKDOWN_NAME: render_comparison_markdown(found),
        folder / HTML_NAME: render_comparison_html(found),
    }
    for path in rendered:
        refuse_existing(path, force=force)
    for path, text in rendered.items():
        write_text(path, text)
    return tuple(rendered)


def _row(change: Change, check: Check | None) -> tuple[Cell, ...]:
    metric = METRICS[change.metric].heading
    where = "" if change.batch is None or change.streams is None else cell_words(change.batch, change.streams)
    old, new = (NONE if value is None else value_words(change.metric, value) for value in (change.old, change.new))
    changed = Cell(NONE, change.reason) if change.reason else Cell(change_amount(change), _in_unit(change))
    gate = (
        Cell(NONE)
        if check is None
        else Cell(check.outcome if check.outcome == PASSED else check.outcome.upper(), check.gate)
    )
    return (Cell(change.engine), Cell(metric, where), Cell(old), Cell(new), changed, gate)


def _in_unit(change: Change) -> str:
    """The change in the metric's own unit, where the table's is a percentage."""
    if change.worse_percent is None or change.worse is None or round(change.worse, 2) == 0:
        return ""
    return f"{number(abs(change.worse), 2)}{SPACE}{change.unit}"


def _reports(found: Comparison) -> str:
    return f"{found.old['title']}, {when(found.old['created'])}, against {when(found.new['created'])}."


def _differences(found: Comparison) -> list[str]:
    return [f"{what}: {old} → {new}" for what, old, new in found.differences]


def _key(check: Check) -> tuple[str, str, int | None, int | None]:
    return (check.gate.partition(">")[0], check.engine, check.batch, check.streams)


def _where(check: Check) -> str:
    if check.batch is None or check.streams is None:
        return check.engine
    return f"{check.engine}, {cell_words(check.batch, check.streams)}"
