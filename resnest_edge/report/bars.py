"""Horizontal bars, each with its name and its value in words above it, which stays legible on a telephone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from resnest_edge.report.svg import Scale, element, line, picture, shortened, text, text_width

WIDTH = 440.0


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        name: what it is of.
        words: its value as text.
        length: its value, at least 0.
        reach: where a line beyond its end goes on to, such as a 99th percentile.
        colour: CSS class.
    """

    name: str
    words: str
    length: float
    reach: float | None = None
    colour: str = "c1"


def bar_plot(title: str, bars: Sequence[Bar], *, step: float = 42.0, thick: float = 14.0) -> Markup:
    """Draw bars from the left, all to one scale that begins at zero.

    Args:
        title: what is shown, for a screen reader.
        bars: at least one.
        step: from one bar to the next.
        thick: of a bar.
    """
    longest = [value for bar in bars for value in (bar.length, bar.reach or 0.0)]
    across = Scale.around([0.0, *longest], 0.0, WIDTH - 6)
    parts = []
    for index, bar in enumerate(bars):
        top, end = index * step + 6, across(bar.length)
        middle = top + 21 + thick / 2
        marks = [element("rect", x=0.0, y=top + 21, width=max(end, 1.0), height=thick, rx=2, class_="bar")]
        if bar.reach is not None:
            reach = across(bar.reach)
            marks.append(line(end, middle, reach, middle, "whisker"))
            marks.append(line(reach, middle - 5, reach, middle + 5, "whisker"))
        name = shortened(bar.name, WIDTH - text_width(bar.words, 13) - 8, 14)
        parts.append(text(0.0, top + 14, name, f"name {bar.colour}"))
        parts.append(text(WIDTH, top + 14, bar.words, "tick", "end"))
        parts.append(element("g", *marks, class_=bar.colour))
    return picture(WIDTH, len(bars) * step + 8, title, *parts)
