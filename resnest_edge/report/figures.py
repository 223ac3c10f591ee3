"""The figures of a page, each with its heading, its pictures and what they show in words."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from resnest_edge.report.layer_plot import SHOWN, sensitivity_plot
from resnest_edge.report.plots import accuracy_plot, frontier_words
from resnest_edge.report.published import published_plot
from resnest_edge.report.schema import Report
from resnest_edge.report.speed_plots import (
    distribution_plot,
    latency_plots,
    power_words,
    size_and_power_plots,
    throughput_plots,
)
from resnest_edge.report.words import SPACE, labels


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        heading: above it.
        pictures: each with a heading of its own, which may be empty.
        caption: below it.
        key: what numbers in the picture stand for: names with CSS classes.
    """

    heading: str
    pictures: tuple[tuple[str, Markup], ...]
    caption: str
    key: tuple[tuple[str, str], ...] = ()


def measured_figures(report: Report) -> list[Figure]:
    """Accuracy and speed, latency, its distribution, throughput, size and power: what was measured of it."""
    made = [_accuracy(report), _latency(report), _distribution(report), _throughput(report), _size_and_power(report)]
    return [figure for figure in made if figure is not None]


def sensitivity_figure(report: Report) -> Figure | None:
    """What quantizing each layer alone costs; None without it."""
    found = report.sensitivity
    if found is None:
        return None
    images = "" if found.images is None else f" on {found.images:,} images"
    shown = f"The {SHOWN} most harmful of {len(found.layers)} layers" if len(found.layers) > SHOWN else "Every layer"
    caption = (
        f"{shown}: error of the logits, in decibels below them, when this layer alone runs in INT8{images}; longer is "
        f"worse, and every 10{SPACE}dB are ten times the error. Top-1 is its change in percentage points."
    )
    return Figure("Sensitivity", (("", sensitivity_plot(found)),), caption)


def published_figure(report: Report) -> Figure | None:
    """Published reference points, on axes of their own; None without them."""
    if not report.published:
        return None
    families: dict[str, dict[str, None]] = {}
    for point in report.published:
        families.setdefault(point.family, {})[point.source] = None
    sources = [f"{family}: {'; '.join(found)}" for family, found in families.items()]
    caption = (
        "Published by others, not measured here, and on another axis than the measured figures: round marks are "
        f"ResNeSts, squares EfficientNets. {'. '.join(sources)}."
    )
    return Figure("For orientation: published figures", (("", published_plot(report.published)),), caption)


def _accuracy(report: Report) -> Figure | None:
    plot = accuracy_plot(report)
    if plot is None:
        return None
    caption = (
        f"Change of top-1 against {labels(report.rows)[0]}, at each engine’s best throughput, with 95{SPACE}% "
        f"intervals of both. {frontier_words(report)}"
    )
    return Figure("Accuracy and speed", (("", plot.picture),), caption, plot.key)


def _latency(report: Report) -> Figure | None:
    plots = latency_plots(report)
    caption = "Bars end at the median, lines at the 99th percentile; each batch size has its own scale."
    return Figure("Latency", tuple(_headed(plots)), caption) if plots else None


def _distribution(report: Report) -> Figure | None:
    plot = distribution_plot(report)
    if plot is None:
        return None
    caption = "How many inferences were answered within a time, up to 99\N{NO-BREAK SPACE}%: steeper is steadier."
    return Figure("Distribution of latency", tuple(_headed([plot])), caption)


def _throughput(report: Report) -> Figure | None:
    plots = throughput_plots(report)
    caption = f"Images answered over the time they took, with 95{SPACE}% intervals."
    return Figure("Throughput", tuple(_headed(plots)), caption) if plots else None


def _size_and_power(report: Report) -> Figure | None:
    plots = size_and_power_plots(report)
    if not plots:
        return None
    return Figure("Size and power", tuple(plots), power_words(report))


def _headed(plots: list[tuple[str, Markup]]) -> list[tuple[str, Markup]]:
    return [(words[:1].upper() + words[1:], plot) for words, plot in plots]
