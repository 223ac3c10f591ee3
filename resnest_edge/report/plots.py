"""Accuracy against throughput, as inline SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from resnest_edge.report.schema import Report
from resnest_edge.report.svg import Box, Scale, crowded, element, join, line, picture, place_labels, text
from resnest_edge.report.words import labels, listed, number, signed

COLOURS = 8
"""Colours a page defines: ``c0`` for the reference, ``c1`` to ``c7`` for the others, over and over."""

_WIDTH = 440.0
_HEIGHT = 340.0
_FONT = 14.0


@dataclass(frozen=True)
class _Point:
    label: str
    colour: str
    throughput: float
    change: float
    speeds: tuple[float, float] | None
    changes: tuple[float, float] | None


@dataclass(frozen=True)
class AccuracyPlot:
    """The picture; and where names would not fit beside the points, what their numbers stand for, with colours."""

    picture: Markup
    key: tuple[tuple[str, str], ...]


def accuracy_plot(report: Report) -> AccuracyPlot | None:
    """Change of top-1 against best throughput: better is up and to the right; bars are 95 % intervals of both.

    Returns:
        None unless two engines at least were measured for both.
    """
    points = _points(report)
    if len(points) < 2:
        return None
    frame = Box(78, 30, _WIDTH - 14, _HEIGHT - 52)
    heights = [value for point in points for value in (point.change, *(point.changes or ()))]
    speeds = [value for point in points for value in (point.throughput, *(point.speeds or ()))]
    across = Scale.around([0.0, *speeds], frame.left, frame.right)
    down = Scale.around([0.0, *heights], frame.bottom, frame.top)
    names = [point.label for point in points]
    written = _names(points, across, down, frame)
    drawn = picture(
        _WIDTH,
        _HEIGHT,
        f"Change of top-1 accuracy against throughput of {listed(names)}",
        _grid(across, down, frame),
        _frontier(points, across, down),
        join(_mark(point, across, down, radius=6 if written else 9) for point in points),
        written or _numbers(points, across, down),
    )
    return AccuracyPlot(drawn, () if written else tuple((point.label, point.colour) for point in points))


def frontier_words(report: Report) -> str:
    """Which engines nothing beats in both, as a sentence; empty without the plot."""
    points = _points(report)
    if len(points) < 2:
        return ""
    best = [points[index].label for index in pareto([(point.throughput, -point.change) for point in points])]
    if len(best) == 1:
        return f"{best[0]} is the best in both."
    return f"No engine beats {listed(best) if len(best) <= 3 else 'those on the dashed line'} in both."


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (throughput, drop) that nothing beats in both, from the fastest to the most accurate."""
    order = sorted(range(len(points)), key=lambda index: (-points[index][0], points[index][1]))
    kept: list[int] = []
    for index in order:
        if not kept or points[index][1] < points[kept[-1]][1]:
            kept.append(index)
    return kept


def colour(index: int) -> str:
    """The CSS class that colours the engine of one row: ``c0`` is the reference's alone."""
    return f"c{1 + (index - 1) % (COLOURS - 1)}" if index else "c0"


def _points(report: Report) -> list[_Point]:
    """The engines with both values; the reference lost nothing, by definition."""
    points = []
    for index, (row, name) in enumerate(zip(report.rows, labels(report.rows), strict=True)):
        drop = 0.0 if index == 0 and row.top1 is not None else row.drop
        if drop is not None and row.images_per_second is not None:
            changes = None if row.drop_ci95 is None else (-row.drop_ci95[1], -row.drop_ci95[0])
            speed = row.images_per_second
            points.append(_Point(name, colour(index), speed, -drop, row.images_per_second_ci95, changes))
    return points


def _grid(across: Scale, down: Scale, frame: Box) -> Markup:
    parts = []
    for value in down.ticks():
        y = down(value)
        parts += [
            line(frame.left, y, frame.right, y, "grid" if value else "zero"),
            text(frame.left - 8, y + 5, signed(value, down.digits), "tick", "end"),
        ]
    parts += [
        text(across(value), frame.bottom + 20, number(value, across.digits), "tick", "middle")
        for value in across.ticks()
    ]
    parts.append(text((frame.left + frame.right) / 2, _HEIGHT - 8, "images per second", "axis", "middle"))
    parts.append(text(0, 14, "change of top-1, points", "axis"))
    parts.append(text(frame.right, 14, "better ↗", "axis", "end"))
    return join(parts)


def _frontier(points: Sequence[_Point], across: Scale, down: Scale) -> Markup:
    kept = [points[index] for index in pareto([(point.throughput, -point.change) for point in points])]
    path = f"M{across(kept[0].throughput):.1f} {down(kept[0].change):.1f}"
    # to the left of an engine, its own loss is still the least that is known, until a slower engine loses less
    path += "".join(f"H{across(point.throughput):.1f}V{down(point.change):.1f}" for point in kept[1:])
    return element("path", d=path, class_="frontier")


def _mark(point: _Point, across: Scale, down: Scale, radius: float) -> Markup:
    x, y = across(point.throughput), down(point.change)
    parts = []
    if point.changes is not None:
        parts += [line(x, down(point.changes[0]), x, down(point.changes[1]), "whisker")]
        parts += [line(x - 5, down(bound), x + 5, down(bound), "whisker") for bound in point.changes]
    if point.speeds is not None:
        parts += [line(across(point.speeds[0]), y, across(point.speeds[1]), y, "whisker")]
        parts += [line(across(bound), y - 5, across(bound), y + 5, "whisker") for bound in point.speeds]
    parts.append(element("circle", cx=x, cy=y, r=radius, class_="point"))
    return element("g", *parts, class_=point.colour)


def _names(points: Sequence[_Point], across: Scale, down: Scale, frame: Box) -> Markup:
    """The points' names beside them; nothing where they would cover each other or the intervals."""
    spots = [(across(point.throughput), down(point.change)) for point in points]
    taken = [box for point in points for box in _room(point, across, down)]
    placed = place_labels(spots, [point.label for point in points], taken, frame, _FONT)
    if crowded(placed, taken, frame):
        return Markup("")
    return join(
        text(spot.x, spot.y, point.label, f"name {point.colour}", spot.anchor)
        for point, spot in zip(points, placed, strict=True)
    )


def _numbers(points: Sequence[_Point], across: Scale, down: Scale) -> Markup:
    """The points' numbers, in them; of one that another covers, below that one, in its own colour."""
    parts: list[Markup] = []
    written: list[tuple[float, float]] = []
    for index, point in reversed(list(enumerate(points))):  # the last is drawn on top, and keeps its number inside
        x, y = across(point.throughput), down(point.change)
        above = sum(abs(across_ - x) < 10 and abs(down_ - y) < 12 for across_, down_ in written)
        shift, kind = (8 + 14 * above, f"name {point.colour}") if above else (0, "number")
        parts.append(text(x, y + 4 + shift, str(index + 1), kind, "middle"))
        written.append((x, y))
    return join(reversed(parts))


def _room(point: _Point, across: Scale, down: Scale) -> list[Box]:
    """What a point and its intervals take."""
    x, y = across(point.throughput), down(point.change)
    bottom, top = (down(bound) for bound in point.changes or (point.change, point.change))
    left, right = (across(bound) for bound in point.speeds or (point.throughput, point.throughput))
    return [
        Box(x - 8, y - 8, x + 8, y + 8),
        Box(x - 6, min(top, y), x + 6, max(bottom, y)),
        Box(min(left, x), y - 6, max(right, x), y + 6),
    ]
