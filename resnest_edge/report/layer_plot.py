"""A bar for each layer: what quantizing it alone costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from resnest_edge.report import svg

_ROW, _LEFT, _WIDTH, _RIGHT = 18, 330, 420, 90
_STYLE = Markup(
    ".plot{font:12px system-ui,sans-serif;background:#fff}.plot text{fill:#222}.bar{fill:#2a6fb0}"
    ".plot .quiet{fill:#666}.grid{stroke:#ddd}"
    "@media(prefers-color-scheme:dark){.plot{background:#16181c}.plot text{fill:#e6e6e6}.plot .quiet{fill:#aaa}"
    ".grid{stroke:#333}.bar{fill:#6fb1f0}}"
)


def layer_plot(title: str, harms: Sequence[tuple[str, float]]) -> str:
    """A standalone SVG of horizontal bars on a logarithmic axis, in the order given.

    Args:
        title: what was measured.
        harms: per layer its name and the relative error of the logits, at least 0; in decibels below the logits the
            axis reads ``10·log₁₀``.
    """
    floor = min((harm for _, harm in harms if harm > 0), default=1e-12)
    low = math.floor(math.log10(floor)) * 10
    largest = max([harm for _, harm in harms] + [floor])
    high = max(math.ceil(math.log10(largest)) * 10, low + 10)
    height = _ROW * len(harms) + 64
    parts = [svg.element("style", _STYLE), svg.text(8, 18, title)]
    for tick in range(low, high + 1, 10):
        x = _LEFT + _WIDTH * (tick - low) / (high - low)
        parts += [svg.line(x, 28, x, height - 28, "grid"), svg.text(x, height - 12, f"{tick} dB", "quiet", "middle")]
    for row, (name, harm) in enumerate(harms):
        y = 32 + row * _ROW
        decibels = 10 * math.log10(harm) if harm > 0 else float(low)
        length = _WIDTH * (decibels - low) / (high - low)
        parts += [
            svg.text(_LEFT - 8, y + 12, name, "", "end"),
            svg.element("rect", class_="bar", x=_LEFT, y=y + 2, width=max(length, 1.0), height=_ROW - 5),
            svg.text(_LEFT + length + 6, y + 12, f"{decibels:.1f}" if harm > 0 else "none", "quiet"),
        ]
    picture = svg.picture(_LEFT + _WIDTH + _RIGHT, height, title, *parts)
    return str(picture).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"
