"""A report on disk: the JSON that is the truth, and what is rendered from it."""

from __future__ import annotations

from pathlib import Path

from resnest_edge.files import refuse_existing, write_text
from resnest_edge.report.csv_file import render_csv
from resnest_edge.report.html import render_html
from resnest_edge.report.markdown import render_markdown, render_short
from resnest_edge.report.schema import JSON_NAME, Report

MARKDOWN_NAME = "report.md"
HTML_NAME = "index.html"
SHORT_NAME = "pull-request.md"
CSV_NAME = "results.csv"


def write_report(report: Report, folder: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write a report's files into ``folder``; other files there stay.

    ``report.json`` holds everything; ``index.html`` is the page, ``report.md`` the same as Markdown,
    ``pull-request.md`` its short form, and ``results.csv`` one line for each engine, batch size and number of streams.
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
        folder / SHORT_NAME: render_short(report),
        folder / CSV_NAME: render_csv(report),
    }
    for path in rendered:
        refuse_existing(path, force=force)
    for path, text in rendered.items():
        write_text(path, text)
    return tuple(rendered)
