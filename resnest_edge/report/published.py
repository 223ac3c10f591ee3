"""What others published of ResNeSt's neighbours, and the grey picture of it: for orientation, measured by nobody here.

The paper (arXiv 2004.08955) compares ResNeSt with EfficientNet. EfficientNet's figures are those that torchvision
states beside the authors' weights that it carries: ``acc@1`` and ``_ops`` (billions of multiply-accumulates) of
``EfficientNet_B0_Weights.IMAGENET1K_V1`` to ``B7`` in torchvision/models/efficientnet.py of github.com/pytorch/vision
at 07a929e.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from resnest_edge.report.line_plot import tick_words
from resnest_edge.report.schema import PublishedPoint
from resnest_edge.report.svg import Box, LogScale, Scale, element, line, picture, place_labels, text

_TORCHVISION = "github.com/pytorch/vision, torchvision/models/efficientnet.py at 07a929e, IMAGENET1K_V1"

EFFICIENTNETS = tuple(
    PublishedPoint("EfficientNet", f"EfficientNet-{name}", top1, gmacs, size, _TORCHVISION)
    for name, top1, gmacs, size in (
        ("B0", 77.692, 0.4, 224),
        ("B1", 78.642, 0.7, 240),
        ("B2", 80.608, 1.1, 288),
        ("B3", 82.008, 1.8, 300),
        ("B4", 83.384, 4.4, 380),
        ("B5", 83.444, 10.3, 456),
        ("B6", 84.008, 19.1, 528),
        ("B7", 84.122, 37.7, 600),
    )
)

_WIDTH, _HEIGHT = 440.0, 320.0


def published_plot(points: Sequence[PublishedPoint]) -> Markup:
    """Published top-1 against multiply-accumulates: a round mark for each ResNeSt, a square for the others."""
    frame = Box(52, 30, _WIDTH - 14, _HEIGHT - 48)
    across = LogScale.around([point.gmacs for point in points], frame.left, frame.right)
    down = Scale.around([point.top1 for point in points], frame.bottom, frame.top)
    parts = []
    for value in down.ticks():
        parts.append(line(frame.left, down(value), frame.right, down(value), "grid"))
        parts.append(text(frame.left - 8, down(value) + 5, tick_words(value), "tick", "end"))
    parts += [text(across(value), frame.bottom + 20, tick_words(value), "tick", "middle") for value in across.ticks()]
    spots = [(across(point.gmacs), down(point.top1)) for point in points]
    names = [short_name(point) for point in points]
    taken = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    for point, (x, y) in zip(points, spots, strict=True):
        parts.append(_mark(point, x, y))
    for name, placed in zip(names, place_labels(spots, names, taken, frame, 17.0), strict=True):
        parts.append(text(placed.x, placed.y, name, "published-name", placed.anchor))
    middle = (frame.left + frame.right) / 2
    parts.append(text(middle, _HEIGHT - 6, "billions of multiply-accumulates an image", "axis", "middle"))
    parts.append(text(0, 14, "published ImageNet top-1, %", "axis"))
    return picture(_WIDTH, _HEIGHT, "Published, not measured here: ImageNet top-1 against multiply-accumulates", *parts)


def short_name(point: PublishedPoint) -> str:
    """``B4`` for EfficientNet-B4, ``50`` for resnest50: the mark's shape tells the family."""
    return point.name.removeprefix("EfficientNet-").removeprefix("resnest")


def _mark(point: PublishedPoint, x: float, y: float) -> Markup:
    if point.family == "EfficientNet":
        return element("rect", x=x - 4, y=y - 4, width=8, height=8, class_="published")
    return element("circle", cx=x, cy=y, r=4.5, class_="published")
