"""Just enough SVG: elements, linear scales with round ticks, and labels that do not cover each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

_NOT_WIDE = 0.56  # mean width of a character of a sans-serif face, in ems, rounded up


def element(name: str, *children: Markup | str, **attributes: float | str) -> Markup:
    """One element; text and attribute values are escaped. ``class_`` is class, and ``text_anchor`` is text-anchor."""
    written = (
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _short(value)) for key, value in attributes.items()
    )
    return Markup("<{}{}>{}</{}>").format(name, join(written), join(children), name)


def join(parts: Iterable[Markup | str]) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)


def picture(width: float, height: float, title: str, *children: Markup) -> Markup:
    """A picture that scales to the width it is given; ``title`` says to a screen reader what it shows."""
    return element(
        "svg", element("title", title), *children, viewBox=f"0 0 {width:g} {height:g}", role="img", class_="plot"
    )


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "start") -> Markup:
    """Text whose baseline is at ``y``."""
    return element("text", words, x=x, y=y, class_=class_, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Scale:
    """A linear map from values to coordinates, with ticks at round values.

    Attributes:
        low: value at ``start``.
        high: value at ``end``.
        start: coordinate.
        end: coordinate.
        step: distance of the ticks, 1, 2 or 5 times a power of ten.
    """

    low: float
    high: float
    start: float
    end: float
    step: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float, ticks: int = 5) -> Scale:
        """A scale that holds all values, from tick to tick, with about ``ticks`` steps."""
        low, high = min(values), max(values)
        step = _round_step((high - low) / ticks or max(abs(high), 1.0) / ticks)
        return cls(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step or step, start, end, step)

    def __call__(self, value: float) -> float:
        """The coordinate of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values from ``low`` to ``high``."""
        first, last = round(self.low / self.step), round(self.high / self.step)
        return [index * self.step for index in range(first, last + 1)]

    @property
    def digits(self) -> int:
        """Decimals that tell the ticks apart."""
        return max(0, -math.floor(math.log10(self.step) + 1e-9))


def _round_step(rough: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


@dataclass(frozen=True)
class Box:
    """A rectangle: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Box) -> float:
        """Area that two rectangles share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def beyond(self, frame: Box) -> float:
        """How far this sticks out of ``frame``."""
        return sum(
            max(0.0, distance)
            for distance in (
                frame.left - self.left,
                frame.top - self.top,
                self.right - frame.right,
                self.bottom - frame.bottom,
            )
        )


@dataclass(frozen=True)
class Placed:
    """Where a label goes: its baseline and anchor, and the room it takes."""

    x: float
    y: float
    anchor: str
    box: Box


def place_labels(
    anchors: Sequence[tuple[float, float]], words: Sequence[str], taken: Sequence[Box], frame: Box, size: float
) -> list[Placed]:
    """Put each label beside its point, where it covers least of what is there already and stays in the frame.

    Args:
        anchors: the points.
        words: their labels.
        taken: what else is drawn.
        frame: where labels may be.
        size: font size.
    """
    placed: list[Placed] = []
    for (x, y), label in zip(anchors, words, strict=True):
        placed.append(
            min(
                _around(x, y, _NOT_WIDE * size * len(label), size),
                # a label on a line can be read, one on another label cannot
                key=lambda spot: (
                    50 * spot.box.beyond(frame)
                    + 10 * sum(spot.box.overlap(other.box) for other in placed)
                    + sum(spot.box.overlap(box) for box in taken)
                ),
            )
        )
    return placed


def crowded(placed: Sequence[Placed], taken: Sequence[Box], frame: Box) -> bool:
    """Whether labels cover each other, stick out of the frame, or hide more than a corner of what is drawn."""
    for index, one in enumerate(placed):
        hidden = sum(one.box.overlap(box) for box in taken)
        if one.box.beyond(frame) or hidden > 0.1 * one.box.overlap(one.box):
            return True
        if any(one.box.overlap(other.box) for other in placed[:index]):
            return True
    return False


def _around(x: float, y: float, width: float, size: float) -> list[Placed]:
    """Spots around a point, the preferred first: right, left, and to both sides above and below."""
    gap = 0.75 * size
    spots = []
    for lift in (0.0, -1.3, 1.3, -2.6, 2.6, -3.9, 3.9):
        baseline = y + 0.35 * size + lift * size
        top, bottom = baseline - 0.85 * size, baseline + 0.25 * size
        spots.append(Placed(x + gap, baseline, "start", Box(x + gap, top, x + gap + width, bottom)))
        spots.append(Placed(x - gap, baseline, "end", Box(x - gap - width, top, x - gap, bottom)))
    return spots
