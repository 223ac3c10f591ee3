"""A report as Markdown, for a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from resnest_edge.report.layer_plot import SHOWN, decibels_of
from resnest_edge.report.layer_times import layer_figures
from resnest_edge.report.schema import Report
from resnest_edge.report.table import Cell, table
from resnest_edge.report.words import NONE, environment_lines, evidence, headline, method, number, percent, signed, when

DEMO = (
    "This is the demo model, trained on small synthetic pictures: the figures show that the tool works, and say "
    "nothing about a real model."
)
REAL = "resnest-edge build resnest50 --weights pretrained --images imagenet/train --eval-images imagenet/val"


def render_markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown: headline, table, and the rest folded away."""
    demo = [f"> **Demo model.** {escape(DEMO)} Measure a real one:\n> `{REAL}`"] if report.demo else []
    lead = f"**{escape(headline(report))}** {escape(evidence(report))}".strip()
    found = table(report)
    sections = [
        f"## {escape(report.title)}",
        *demo,
        lead,
        table_lines(found.headings, found.rows),
        *([escape(found.caption)] if found.caption else []),
        *bullets("Read with care", report.warnings),
        *_layers(report),
        *_sensitivity(report),
        *bullets("Notes", report.notes),
        _folded("How it was measured", [escape(paragraph) for paragraph in method(report)]),
        *([_folded("Commands", [_code(report.commands)])] if report.commands else []),
        *([_folded("Environment", [_environment(report)])] if report.environment else []),
        f"Measured {escape(when(report.created))}.",
    ]
    return "\n\n".join(sections) + "\n"


SHORT_COLUMNS = ("Engine", "Top-1", "Top-1 change, points", "Speed", "Best throughput", "Size")


def render_short(report: Report) -> str:
    """The report as a comment under a pull request: headline, the columns that decide, and what is doubtful."""
    found = table(report)
    latency = [heading for heading in found.headings if heading.startswith("Median latency")]
    wanted = [place for place, name in enumerate(found.headings) if name in SHORT_COLUMNS or name in latency]
    rows = [[row[place] for place in wanted] for row in found.rows]
    doubts = len(report.warnings)
    care = f" {doubts} warning{'s' if doubts > 1 else ''}: see the full report." if doubts else ""
    demo = [f"> {escape(DEMO)}"] if report.demo else []
    sections = [
        f"### {escape(report.title)}",
        *demo,
        f"**{escape(headline(report))}** {escape(evidence(report))}".strip(),
        table_lines([found.headings[place] for place in wanted], rows),
        f"{escape(f'Measured {when(report.created)}{_machine(report)}.')}{care}",
    ]
    return "\n\n".join(sections) + "\n"


def _machine(report: Report) -> str:
    cpu, cores = report.environment.get("cpu"), report.environment.get("cores")
    return "" if cpu is None else f" on {cpu}" + ("" if cores is None else f", {cores} cores")


def escape(text: str) -> str:
    """Text that Markdown, GitHub's additions to it and HTML leave as it is, on one line."""
    line = re.sub(r"[\\`*_{}\[\]<>|#~&$]", r"\\\g<0>", re.sub(r"\s+", " ", text, flags=re.ASCII).strip())
    # what starts a list or a heading at the start of a line
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", line)


def table_lines(headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table, the first column to the left and the others to the right."""
    lines = [[escape(heading) for heading in headings], ["---", *["---:"] * (len(headings) - 1)]]
    lines += [[_cell(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: Cell) -> str:
    return escape(cell.value) + (f"<br><sub>{escape(cell.detail)}</sub>" if cell.detail else "")


def _layers(report: Report) -> list[str]:
    """What each engine runs, folded away."""
    parts = []
    for engine in layer_figures(report):
        words = engine.summary or f"Not shown: {engine.reason}."
        parts.append(f"**{escape(engine.name)}**: {escape(words)}")
        if engine.kinds:
            parts.append(_plain_table(("Kind", "Precision", "Layers", "Time", "Share"), engine.kinds))
    return [_folded("Time and precision of each layer", parts)] if parts else []


def _sensitivity(report: Report) -> list[str]:
    found = report.sensitivity
    if found is None:
        return []
    rows = [
        (
            layer.layer,
            f"{number(decibels_of(layer.harm, -999), 1)} dB" if layer.harm > 0 else "none",
            percent(layer.changed),
            NONE if layer.top1_change is None else signed(layer.top1_change),
        )
        for layer in found.layers[:SHOWN]
    ]
    heading = f"Sensitivity: the most harmful {len(rows)} of {len(found.layers)} layers, each alone in INT8"
    columns = ("Layer", "Error of the logits", "Answers changed", "Top-1 change, points")
    return [_folded(heading, [_plain_table(columns, rows)])]


def _plain_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return table_lines(headings, ([Cell(value) for value in row] for row in rows))


def bullets(title: str, items: Sequence[str]) -> list[str]:
    """A list under a bold title, as one section; none where there are no items."""
    return ["\n".join([f"**{title}**\n", *(f"- {escape(item)}" for item in items)])] if items else []


def _folded(title: str, paragraphs: Sequence[str]) -> str:
    return "\n\n".join([f"<details>\n<summary>{title}</summary>", *paragraphs, "</details>"])


def _code(commands: Sequence[str]) -> str:
    # a fence longer than any run of backticks in the commands cannot be closed by them
    longest = max((len(run) for command in commands for run in re.findall(r"`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}sh", *commands, fence])


def _environment(report: Report) -> str:
    return "\n".join(f"- {escape(name)}: {escape(value)}" for name, value in environment_lines(report.environment))
