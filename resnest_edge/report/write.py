"""A report on disk: the JSON that is the truth, and the two pages rendered from it."""

from __future__ import annotations

from pathlib import Path

from resnest_edge.files import refuse_existing, write_atomically
from resnest_edge.report.html import render_html
from resnest_edge.report.markdown import render_markdown
from resnest_edge.report.schema import JSON_NAME, Report

MARKDOWN_NAME = "report.md"
HTML_NAME = "index.html"


def write_report(report: Report, folder: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write ``report.json``, ``report.md`` and ``index.html`` into ``folder``; other files there stay.

    Everything is rendered before anything is written, and each file appears whole.

    Returns:
        The files written, the JSON first.

    Raises:
        OutputError: one of the files exists and ``force`` is not given, or cannot be written.
        InputError: the report holds a value that JSON cannot.
    """
    rendered = {
        folder / JSON_NAME: report.dumps(),
        folder / MARKDOWN_NAME: render_markdown(report),
        folder / HTML_NAME: render_html(report),
    }
    for path in rendered:
        refuse_existing(path, force=force)
    for path, text in rendered.items():
        write_atomically(path, text.encode())
    return tuple(rendered)
