"""Lines over a numeric axis: several series, each point with its interval, a legend above.

picture = line_plot(
    "Latency of three runtimes over image size",
    [Series("ours", (Point(160, 8.1, 7.9, 8.4), Point(224, 15.2, 15.0, 15.6))), Series("theirs", …)],
    across=Axis("image size, pixels"),
    down=Axis("median latency, ms", zero=True),
)
write_atomically(path, standalone(picture).encode())  # svg.standalone: a file of its own, light and dark
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from markupsafe import Markup

from resnest_edge.report.svg import (
    Box,
    LogScale,
    Scale,
    bold_width,
    element,
    join,
    line,
    picture,
    text,
)
from resnest_edge.report.words import number

_WIDTH, _HEIGHT, _FONT, _ROW = 440.0, 270.0, 14.0, 22.0
_FEW = 8  # so many values of x are the ticks themselves
_COLOURS = 7  # besides grey
_WIDE_RANGE = 8.0


@dataclass(frozen=True)
class Point:
    """A value, with the ends of its interval where there is one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        label: its name in the legend.
        points: in any order; they are joined by rising x.
        colour: ``c0`` (grey) to ``c7``; None takes the next in turn, and is dashed where that has gone round.
        dashed: whether the line is.
    """

    label: str
    points: tuple[Point, ...]
    colour: str | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        title: the quantity and its unit.
        logarithmic: every value must be above zero; None chooses it for x values that span a factor of 8 and more.
        zero: whether zero is shown.
        ends: the values at its ends, instead of those of the data.
    """

    title: str
    logarithmic: bool | None = False
    zero: bool = False
    ends: tuple[float, float] | None = None


def line_plot(
    title: str,
    series: Sequence[Series],
    across: Axis,
    down: Axis,
    *,
    marks: bool = True,
    width: float = _WIDTH,
    height: float = _HEIGHT,
) -> Markup:
    """Draw.

    Args:
        title: what is shown, for a screen reader.
        series: at least one, each with at least one point.
        across: the x axis.
        down: the y axis.
        marks: whether each point is a dot with its interval; without, only lines are drawn.
        width: of the picture, in units of its text's size.
        height: of the picture, below the legend.
    """
    coloured = [one.colour or f"c{1 + place % _COLOURS}" for place, one in enumerate(series)]
    series = [
        replace(one, dashed=True) if one.colour is None and place // _COLOURS % 2 else one
        for place, one in enumerate(series)
    ]
    legend, top = _legend(series, coloured, width)
    frame = Box(60, top + 22, width - 14, top + height - 48)
    xs = [point.x for one in series for point in one.points]
    x_scale = _scale(across, xs, frame.left, frame.right)
    y_scale = _scale(down, list(_heights(series)), frame.bottom, frame.top)
    drawn = [_line(one, colour, x_scale, y_scale, marks) for one, colour in zip(series, coloured, strict=True)]
    grid = _grid(across, down, x_scale, y_scale, frame, _ticks(x_scale, xs))
    return picture(width, top + height, title, legend, grid, *drawn)


def _heights(series: Sequence[Series]) -> Iterable[float]:
    for point in (point for one in series for point in one.points):
        yield from (value for value in (point.y, point.low, point.high) if value is not None)


def _scale(axis: Axis, values: Sequence[float], start: float, end: float) -> Scale | LogScale:
    logarithmic = axis.logarithmic
    if logarithmic is None:
        logarithmic = min(values) > 0 and max(values) / min(values) >= _WIDE_RANGE
    shown = list(axis.ends or values)
    if logarithmic:
        return LogScale.around(shown, start, end)
    if axis.ends is not None:
        return replace_ends(Scale.around(shown, start, end), *axis.ends)
    return Scale.around([0.0, *shown] if axis.zero else shown, start, end)


def replace_ends(scale: Scale, low: float, high: float) -> Scale:
    """The same scale and ticks between exactly these values."""
    return Scale(low, high, scale.start, scale.end, scale.step)


def _ticks(scale: Scale | LogScale, values: Sequence[float]) -> list[float]:
    """The values themselves where they are few and not too close, else round ones."""
    own = sorted(set(values))
    places = [scale(value) for value in own]
    apart = all(abs(b - a) >= 26 for a, b in pairwise(places))
    return own if len(own) <= _FEW and apart else scale.ticks()


def _legend(series: Sequence[Series], colours: Sequence[str], width: float) -> tuple[Markup, float]:
    """Names behind a piece of their line, in as many rows as they need; and the height of them all."""
    parts, x, y = [], 0.0, 14.0
    for one, colour in zip(series, colours, strict=True):
        room = 28 + bold_width(one.label, _FONT) + 16
        if x > 0 and x + room > width:
            x, y = 0.0, y + _ROW
        dashed = " dashed" if one.dashed else ""
        parts.append(
            element(
                "g",
                line(x, y - 5, x + 22, y - 5, f"curve{dashed}"),
                text(x + 28, y, one.label, f"name {colour}"),
                class_=colour,
            )
        )
        x += room
    return join(parts), y + 8


def _grid(
    across: Axis, down: Axis, x_scale: Scale | LogScale, y_scale: Scale | LogScale, frame: Box, x_ticks: Sequence[float]
) -> Markup:
    parts = []
    for value in y_scale.ticks():
        y = y_scale(value)
        parts.append(line(frame.left, y, frame.right, y, "grid" if value else "zero"))
        parts.append(text(frame.left - 8, y + 5, tick_words(value), "tick", "end"))
    for value in x_ticks:
        if frame.left - 1 <= x_scale(value) <= frame.right + 1:
            parts.append(line(x_scale(value), frame.bottom, x_scale(value), frame.bottom + 5, "grid"))
            parts.append(text(x_scale(value), frame.bottom + 19, tick_words(value), "tick", "middle"))
    parts.append(text((frame.left + frame.right) / 2, frame.bottom + 40, across.title, "axis", "middle"))
    parts.append(text(0, frame.top - 10, down.title, "axis"))
    return join(parts)


def tick_words(value: float) -> str:
    """A value at an axis, with no more decimals than it has."""
    digits = next((digits for digits in range(4) if abs(value - round(value, digits)) < 1e-9 * max(1, abs(value))), 4)
    return number(value, digits)


def _line(one: Series, colour: str, x_scale: Scale | LogScale, y_scale: Scale | LogScale, marks: bool) -> Markup:
    points = sorted(one.points, key=lambda point: point.x)
    path = "M" + "L".join(f"{x_scale(point.x):.1f} {y_scale(point.y):.1f}" for point in points)
    parts = [element("path", d=path, class_="curve dashed" if one.dashed else "curve")]
    for point in points if marks else ():
        x = x_scale(point.x)
        if point.low is not None and point.high is not None:
            low, high = y_scale(point.low), y_scale(point.high)
            parts += [line(x, low, x, high, "whisker"), line(x - 4, low, x + 4, low, "whisker")]
            parts.append(line(x - 4, high, x + 4, high, "whisker"))
        parts.append(element("circle", cx=x, cy=y_scale(point.y), r=4, class_="mark"))
    return element("g", *parts, class_=colour)
