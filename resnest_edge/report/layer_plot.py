"""A bar for each layer: what quantizing it alone costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from resnest_edge.report import svg
from resnest_edge.report.bars import Bar, bar_plot
from resnest_edge.report.schema import Sensitivity
from resnest_edge.report.words import SPACE, number, signed

SHOWN = 12
"""Layers that a page shows."""

_ROW, _LEFT, _WIDTH, _RIGHT = 18, 330, 420, 90


def layer_plot(title: str, harms: Sequence[tuple[str, float]]) -> str:
    """A standalone SVG of horizontal bars on a logarithmic axis, in the order given.

    Args:
        title: what was measured.
        harms: per layer its name and the relative error of the logits, at least 0; in decibels below the logits the
            axis reads ``10·log₁₀``.
    """
    low, high = _ends([harm for _, harm in harms])
    height = _ROW * len(harms) + 64
    parts = [svg.text(8, 18, title)]
    for tick in range(low, high + 1, 10):
        x = _LEFT + _WIDTH * (tick - low) / (high - low)
        parts += [svg.line(x, 28, x, height - 28, "grid"), svg.text(x, height - 12, f"{tick} dB", "quiet", "middle")]
    for row, (name, harm) in enumerate(harms):
        y = 32 + row * _ROW
        decibels = decibels_of(harm, low)
        length = _WIDTH * (decibels - low) / (high - low)
        parts += [
            svg.text(_LEFT - 8, y + 12, name, "", "end"),
            svg.element("rect", class_="bar", x=_LEFT, y=y + 2, width=max(length, 1.0), height=_ROW - 5),
            svg.text(_LEFT + length + 6, y + 12, f"{decibels:.1f}" if harm > 0 else "none", "quiet"),
        ]
    return svg.standalone(svg.picture(_LEFT + _WIDTH + _RIGHT, height, title, *parts))


def sensitivity_plot(found: Sensitivity) -> Markup:
    """The most harmful layers for a page, on a logarithmic scale from the least harmful layer of all."""
    low, _ = _ends([layer.harm for layer in found.layers])
    bars = []
    for layer in found.layers[:SHOWN]:
        decibels = decibels_of(layer.harm, low)
        moved = "" if layer.top1_change is None else f", top-1 {signed(layer.top1_change)}"
        words = f"{number(decibels, 1)}{SPACE}dB{moved}" if layer.harm > 0 else f"none{moved}"
        bars.append(Bar(layer.layer, words, decibels - low, colour="c1"))
    return bar_plot(f"What quantizing each layer of {found.model} alone costs", bars, step=34.0, thick=8.0)


def decibels_of(harm: float, floor: float) -> float:
    """``10·log₁₀`` of a relative error; ``floor`` where there is none."""
    return 10 * math.log10(harm) if harm > 0 else float(floor)


def _ends(harms: Sequence[float]) -> tuple[int, int]:
    """Whole tens of decibels around all errors."""
    floor = min((harm for harm in harms if harm > 0), default=1e-12)
    low = math.floor(math.log10(floor)) * 10
    return low, max(math.ceil(math.log10(max([*harms, floor]))) * 10, low + 10)
