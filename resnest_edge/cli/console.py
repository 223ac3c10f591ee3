"""What the user sees: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from resnest_edge.pipeline.progress import Progress as Teller

_FILE_WIDTH = 160
_PROSE = re.compile(r"[A-Za-z]{2,},? [A-Za-z]{2,}")
_errors = Console(stderr=True, highlight=False, soft_wrap=True)


def complain(message: str) -> None:
    """Say what went wrong, on stderr."""
    _errors.print(f"[bold red]error:[/] {escape(message)}")


def note(message: str) -> None:
    """Say something worth knowing, on stderr."""
    _errors.print(f"[dim]{escape(message)}[/]")


def warn(message: str) -> None:
    """Say something the user may not want, on stderr."""
    _errors.print(f"[yellow]warning:[/] {escape(message)}")


def print_json(value: Any) -> None:
    """Write one JSON value to stdout: all that a `--json` command puts there."""
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str | None = None) -> None:
    """Write a table to stdout; every column but the first is aligned to the right, unless it holds sentences."""
    table = Table(caption=caption, caption_justify="left")
    for index, column in enumerate(columns):
        words = index == 0 or any(_PROSE.search(row[index]) for row in rows)
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:  # nothing to fit into: a file or a pipe takes whole lines
        console.width = _FILE_WIDTH
    console.print(Text(title, style="bold"), soft_wrap=True)  # above the table, which may be narrower
    console.print(table)


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """A number for a table; a dash where there is none."""
    return "–" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def interval(bounds: Sequence[float] | None, digits: int = 2, sign: bool = False) -> str:
    """An interval for a table."""
    return "" if bounds is None else f"[{number(bounds[0], digits, sign)}, {number(bounds[1], digits, sign)}]"


def stacked(*lines: str) -> str:
    """A cell of several lines; empty ones are left out."""
    return "\n".join(line for line in lines if line)


@contextmanager
def progress_bars() -> Iterator[Teller]:
    """Progress bars on stderr for every stage that tells of itself; only where somebody watches."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_errors, transient=True, disable=not _errors.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                for task in bars.tasks:
                    if task.total is None:  # stages without a count end when the next one begins
                        bars.update(task.id, total=1, completed=1)
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield tell
