"""`resnest-edge report --compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from resnest_edge.cli.console import note, print_json, print_table, stacked, warn
from resnest_edge.errors import GateError, UsageError

if TYPE_CHECKING:
    from resnest_edge.report.comparison import Comparison


def run(
    paths: Sequence[Path],
    fail_on: str | None,
    idle: Mapping[str, Any],
    *,
    out: Path | None,
    force: bool,
    json: bool,
) -> None:
    """Compare two reports and print what changed.

    Args:
        paths: the old and the new report.json.
        fail_on: lines that must not be crossed.
        idle: options that only measuring takes, by name, with what was given for them.
        out: where pages are written, if anywhere.
        force: replace pages that are there.
        json: print one JSON object instead of a table.

    Raises:
        GateError: a line was crossed, or something held to one cannot be compared.
        UsageError: not two reports, or an option that only measuring takes.
    """
    if len(paths) != 2:
        raise UsageError(f"--compare takes two reports, not {len(paths)}", hint="Give OLD.JSON NEW.JSON.")
    if given := [name for name, value in idle.items() if value]:
        raise UsageError(f"{', '.join(given)} has no meaning with --compare, which measures nothing")
    from resnest_edge.report.comparison import compare_reports
    from resnest_edge.report.comparison_pages import sentences, verdict, write_comparison
    from resnest_edge.report.gates import parse_gates
    from resnest_edge.report.reading import load_report

    gates = () if fail_on is None else parse_gates(fail_on)
    old, new = (load_report(path) for path in paths)
    found = compare_reports(old, new, gates)
    files = () if out is None else write_comparison(found, out, force=force)
    if json:
        print_json(found.to_json())
    else:
        _print(f"{paths[0]} → {paths[1]}", found)
    for text in found.notes:
        note(text)
    if files:
        note("Written: " + ", ".join(str(path) for path in files))
    if found.crossed:
        raise GateError(f"{verdict(found)[:-1]}: " + "; ".join(sentences(found)))


def _print(title: str, found: Comparison) -> None:
    """The table, what it leaves out because it cannot be compared, and the verdict."""
    from resnest_edge.report.comparison_pages import comparison_table, not_comparable, verdict

    shown = comparison_table(found)
    cells = [[stacked(cell.value, cell.detail) for cell in row] for row in shown.rows]
    print_table(title, shown.headings, cells, caption=shown.caption)
    for text in not_comparable(found):
        warn(f"not comparable: {text}")
    typer.echo(verdict(found))
