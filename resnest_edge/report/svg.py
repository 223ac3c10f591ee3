"""Just enough SVG: elements, linear scales with round ticks, and labels that do not cover each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

_NOT_WIDE = 0.56  # mean width of a character of a sans-serif face, in ems, rounded up
_BOLD = ((str.isupper, 0.77), (str.isdigit, 0.7), (str.islower, 0.65), (str.isspace, 0.35))  # mean widths in ems
_BOLD_OTHER = 0.6


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


def standalone(drawn: Markup) -> str:
    """A picture as a file of its own, which a README or a browser shows: with its colours, light and dark."""
    opened = str(drawn).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, end, rest = opened.partition("</title>")
    return f"{head}{end}<style>{_STYLE}</style>{rest}\n"


_STYLE = (
    ".plot{font:14px system-ui,sans-serif;background:#fff}.plot text{fill:#16191d}"
    ".plot .tick,.plot .axis,.plot .quiet{fill:#5a6472;font-size:13px}.plot .name{fill:var(--c);font-weight:650}"
    ".grid{stroke:#dfe3e8}.zero,.frontier{stroke:#5a6472}.whisker{stroke:var(--c);stroke-width:2}"
    ".point{fill:var(--c);stroke:#fff;stroke-width:2}.mark,.bar{fill:var(--c)}"
    ".curve,.frontier{fill:none;stroke-width:2}.curve{stroke:var(--c)}.dashed{stroke-dasharray:5 4}"
    ".plot{--c:#1d5fd1}.c0{--c:#6b7280}.c1{--c:#1d5fd1}.c2{--c:#bf4d0a}.c3{--c:#137a43}.c4{--c:#7a3fc4}.c5{--c:#b3176b}"
    ".c6{--c:#0b7285}.c7{--c:#7d5a14}"
    "@media(prefers-color-scheme:dark){.plot{background:#14171b}.plot text{fill:#e8eaed}"
    ".plot .tick,.plot .axis,.plot .quiet{fill:#9aa4b1}.plot .name{fill:var(--c)}.grid{stroke:#30363e}"
    ".point{stroke:#14171b}.plot{--c:#6ea8ff}"
    ".c0{--c:#9aa4b1}.c1{--c:#6ea8ff}.c2{--c:#ff9a57}.c3{--c:#58c98a}.c4{--c:#b794f6}.c5{--c:#f47ab8}.c6{--c:#4fc3d9}"
    ".c7{--c:#d3a94c}}"
)


def text_width(words: str, size: float) -> float:
    """Room that a text takes, a little more rather than less."""
    return _NOT_WIDE * size * len(words)


def bold_width(words: str, size: float) -> float:
    """Room that a bold text takes in DejaVu Sans, the widest of the faces that pages fall back to."""
    return size * sum(next((width for kind, width in _BOLD if kind(letter)), _BOLD_OTHER) for letter in words)


def shortened(words: str, room: float, size: float) -> str:
    """A name that fits into ``room``; of one too long the end stays, which tells paths and layers apart."""
    most = max(int(room / (_NOT_WIDE * size)), 2)
    return words if len(words) <= most else "…" + words[len(words) - most + 1 :]


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


@dataclass(frozen=True)
class LogScale:
    """A logarithmic map from positive values to coordinates.

    Attributes:
        low: value at ``start``.
        high: value at ``end``.
        start: coordinate.
        end: coordinate.
    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> LogScale:
        """A scale that holds all values, with a little room on both sides."""
        low, high = min(values), max(values)
        room = (high / low) ** 0.04 if high > low else 2.0
        return cls(low / room, high * room, start, end)

    def __call__(self, value: float) -> float:
        """The coordinate of a value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """1, 2 and 5 times the powers of ten in range; only the powers of ten where those are many."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        fine = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        inside = [value for value in fine if self.low <= value <= self.high]
        if len(inside) <= 9:
            return inside
        return [10.0**power for power in powers if self.low <= 10.0**power <= self.high]


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
                _around(x, y, bold_width(label, size), size),
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
