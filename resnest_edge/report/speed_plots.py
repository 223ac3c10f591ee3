"""Latency, its distribution, throughput over batch size and streams, size and power: pictures for a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from resnest_edge.report.bars import Bar, bar_plot
from resnest_edge.report.line_plot import Axis, Point, Series, line_plot
from resnest_edge.report.plots import colour
from resnest_edge.report.schema import Report, Row
from resnest_edge.report.words import cell_words, labels, measure

Named = tuple[str, Markup]
"""A heading, and the picture below it."""


def latency_plots(report: Report) -> list[Named]:
    """One picture for each batch size and number of streams: a bar to p50, a line on to p99."""
    names = _names(report)
    plots = []
    for batch, streams in cells(report):
        bars = []
        for result in _results(report, batch, streams):
            p50, p99 = result["latency_ms"]["p50"], result["latency_ms"]["p99"]
            words = f"{measure(p50, 'ms')}, p99 {measure(p99, 'ms')}"
            name, tint = names[result["bundle"]]
            bars.append(Bar(name, words, p50, p99, tint))
        plots.append((cell_words(batch, streams), bar_plot(f"Latency at {cell_words(batch, streams)}", bars)))
    return plots


def distribution_plot(report: Report) -> Named | None:
    """Percent of inferences answered within a time, at the smallest batch and fewest streams; None for old reports."""
    found = cells(report)
    if not found:
        return None
    batch, streams = min(found, key=lambda cell: (cell[1], cell[0]))
    results = [result for result in _results(report, batch, streams) if result.get("latency_distribution")]
    if not results:
        return None
    names = _names(report)
    series = [
        Series(names[result["bundle"]][0], tuple(_curve(result["latency_distribution"])), names[result["bundle"]][1])
        for result in results
    ]
    words = cell_words(batch, streams)
    drawn = line_plot(
        f"Distribution of latency at {words}",
        series,
        Axis("latency, ms", zero=True),
        Axis("answered within, % of inferences", ends=(0.0, 100.0)),
        marks=False,
    )
    return words, drawn


def throughput_plots(report: Report) -> list[Named]:
    """Throughput over batch size for each number of streams, and over streams where only those vary."""
    found = cells(report)
    batches, streams = sorted({batch for batch, _ in found}), sorted({number for _, number in found})
    if len(batches) > 1:
        return [
            (
                "1 stream" if number == 1 else f"{number} streams",
                _throughput(report, "images per inference (batch)", "batch", {"streams": number}),
            )
            for number in streams
        ]
    if len(streams) > 1:
        words = f"batch {batches[0]}"
        return [(words, _throughput(report, "inferences in flight (streams)", "streams", {"batch": batches[0]}))]
    return []


def size_and_power_plots(report: Report) -> list[Named]:
    """Size of the engine's files, memory, and images for each joule: whatever was measured."""
    quantities: list[tuple[str, Callable[[Row], float | None], str]] = [
        ("Engine files", lambda row: row.size_mib, "MiB"),
        ("Most memory of its process (RSS)", lambda row: row.peak_rss_mib, "MiB"),
        ("Images for each joule, at the best throughput", lambda row: row.images_per_joule, "img/J"),
        ("Mean power, at the best throughput", lambda row: row.power_w, "W"),
    ]
    plots = []
    for heading, read, unit in quantities:
        bars = [
            Bar(name, measure(value, unit), value, colour=colour(index))
            for index, (row, name) in enumerate(zip(report.rows, labels(report.rows), strict=True))
            if (value := read(row)) is not None
        ]
        if bars:
            plots.append((heading, bar_plot(heading, bars)))
    return plots


def power_words(report: Report) -> str:
    """What told the power, or why nothing did; empty where nobody asked."""
    sources = list(dict.fromkeys(row.power_source for row in report.rows if row.power_source))
    reasons = list(dict.fromkeys(row.power_reason for row in report.rows if row.power_reason))
    parts = [f"Power: {', '.join(sources)}."] if sources else []
    return " ".join([*parts, *(f"No power figures: {reason}." for reason in reasons)])


def cells(report: Report) -> list[tuple[int, int]]:
    """Every (batch size, number of streams) that was measured, in order."""
    return sorted({(result["batch"], result["streams"]) for result in report.benchmark})


def _names(report: Report) -> dict[str, tuple[str, str]]:
    return {
        row.bundle: (name, colour(index))
        for index, (row, name) in enumerate(zip(report.rows, labels(report.rows), strict=True))
    }


def _results(report: Report, batch: int, streams: int) -> list[Mapping[str, Any]]:
    return [result for result in report.benchmark if (result["batch"], result["streams"]) == (batch, streams)]


def _curve(distribution: Mapping[str, Sequence[float]]) -> list[Point]:
    """Up to 99 %: the slowest inference of all would squeeze the rest together."""
    pairs = zip(distribution["percents"], distribution["milliseconds"], strict=True)
    return [Point(milliseconds, percent) for percent, milliseconds in pairs if percent <= 99]


def _throughput(report: Report, title: str, across: str, fixed: Mapping[str, int]) -> Markup:
    series = []
    for name, (label, tint) in _names(report).items():
        results = [
            result
            for result in report.benchmark
            if result["bundle"] == name and all(result[key] == value for key, value in fixed.items())
        ]
        points = [
            Point(result[across], result["images_per_second"], *(result.get("images_per_second_ci95") or (None, None)))
            for result in results
        ]
        if points:
            series.append(Series(label, tuple(points), tint))
    words = ", ".join(f"{key} {value}" for key, value in fixed.items())
    heading = f"Throughput over {across} at {words}"
    return line_plot(heading, series, Axis(title, logarithmic=None), Axis("images per second", zero=True))
