"""How cost grows: a sweep's latency over image size and over depth, and its throughput over batch size and streams."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from resnest_edge.demo.model import NAME as DEMO
from resnest_edge.models.config import cost_of
from resnest_edge.models.variants import find_variant
from resnest_edge.report.line_plot import Axis, Point, Series, line_plot
from resnest_edge.report.words import TARGETS
from resnest_edge.search.sweep_journal import SweepRow

_LATENCY = Axis("median latency, ms", zero=True)
_SPEED = Axis("images per second", zero=True)


@dataclass(frozen=True)
class GrowthPlot:
    """One picture.

    Attributes:
        file: name for it.
        heading: what it shows.
        picture: SVG, which takes its colours from the page.
    """

    file: str
    heading: str
    picture: Markup


@dataclass(frozen=True)
class _Measured:
    """One cell at one batch size and number of streams."""

    row: SweepRow
    result: Mapping[str, Any]

    def named(self, *, network: bool, size: bool) -> str:
        """``resnest50 INT8 OpenVINO grouped, 224 px``, with the parts that a line has in common."""
        row = self.row
        form = "" if row.form == "split" else row.form
        words = (row.variant if network else "", row.precision.upper(), TARGETS.get(row.target, row.target), form)
        return " ".join(word for word in words if word) + (f", {row.image_size} px" if size else "")

    @property
    def gmacs(self) -> float:
        """Billions of multiply-accumulates for one image."""
        return cost_of(find_variant(self.row.variant).config, self.row.image_size).macs / 1e9


def growth_plots(rows: Sequence[SweepRow]) -> list[GrowthPlot]:
    """A picture for each quantity of which some line holds more than one value; cells that failed are left out."""
    every = [_Measured(row, result) for row in rows if not row.failed for result in row.results]
    least = {row.key: min(row.results, key=_cell) for row in rows if not row.failed and row.results}
    alone = [_Measured(row, least[row.key]) for row in rows if row.key in least]
    several = len({one.row.variant for one in alone}) > 1
    sizes = len({one.row.image_size for one in alone}) > 1
    plots = [
        _over_size(alone, several),
        _over_depth([one for one in alone if one.row.variant != DEMO]),
        _over_cells(every, "batch", "streams", "images per inference (batch)", several, sizes),
        _over_cells(every, "streams", "batch", "inferences in flight (streams)", several, sizes),
    ]
    return [plot for plot in plots if plot is not None]


def _over_size(alone: Sequence[_Measured], several: bool) -> GrowthPlot | None:
    lines = _lines(alone, lambda one: one.named(network=several, size=False), lambda one: one.row.image_size, _latency)
    return _plot("latency-image-size.svg", "Latency over image size", lines, Axis("image size, pixels"), _LATENCY)


def _over_depth(alone: Sequence[_Measured]) -> GrowthPlot | None:
    """Networks of one size make a line; where each has a size of its own, all of them do."""
    by_size: dict[int, set[str]] = {}
    for one in alone:
        by_size.setdefault(one.row.image_size, set()).add(one.row.variant)
    shared = any(len(variants) > 1 for variants in by_size.values())
    if len({one.row.variant for one in alone}) < 2:
        return None
    lines = _lines(alone, lambda one: one.named(network=False, size=shared), lambda one: one.gmacs, _latency)
    across = Axis("multiply-accumulates of one image, billions")
    return _plot("latency-depth.svg", "Latency over depth", lines, across, _LATENCY)


def _over_cells(
    every: Sequence[_Measured], key: str, fixed: str, words: str, several: bool, sizes: bool
) -> GrowthPlot | None:
    """Throughput over batch sizes or streams, the other of the two being the least that was measured."""
    if not every:
        return None
    least = min(one.result[fixed] for one in every)
    kept = [one for one in every if one.result[fixed] == least]
    lines = _lines(kept, lambda one: one.named(network=several, size=sizes), lambda one: one.result[key], _throughput)
    heading = f"Throughput over {key} at {fixed} {least}"
    return _plot(f"throughput-{key}.svg", heading, lines, Axis(words, logarithmic=None), _SPEED)


def _lines(
    found: Sequence[_Measured],
    name: Callable[[_Measured], str],
    across: Callable[[_Measured], float],
    down: Callable[[_Measured, float], Point],
) -> list[Series]:
    """One line a name; a line of a single value is none."""
    points: dict[Hashable, dict[float, Point]] = {}
    for one in found:
        x = across(one)
        points.setdefault(name(one), {})[x] = down(one, x)
    return [Series(str(label), tuple(values.values())) for label, values in points.items() if len(values) > 1]


def _plot(file: str, heading: str, lines: Sequence[Series], across: Axis, down: Axis) -> GrowthPlot | None:
    return GrowthPlot(file, heading, line_plot(heading, lines, across, down)) if lines else None


def _cell(result: Mapping[str, Any]) -> tuple[int, int]:
    return int(result["streams"]), int(result["batch"])


def _latency(one: _Measured, x: float) -> Point:
    return Point(x, one.result["latency_ms"]["p50"])


def _throughput(one: _Measured, x: float) -> Point:
    interval = one.result.get("images_per_second_ci95") or (None, None)
    return Point(x, one.result["images_per_second"], *interval)
