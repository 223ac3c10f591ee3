"""Time and precision of every layer of every engine: one column a layer, all engines to one scale, and two tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from resnest_edge.report.line_plot import tick_words
from resnest_edge.report.schema import EngineLayers, LayerTime, Report
from resnest_edge.report.svg import Scale, element, join, line, picture, text, text_width
from resnest_edge.report.words import NONE, labels, measure, number

SLOWEST = 8
"""Layers that the table of the slowest shows."""

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
_WIDTH, _HEIGHT, _LEFT, _TOP = 440.0, 190.0, 44.0, 34.0


@dataclass(frozen=True)
class LayerFigure:
    """One engine's layers.

    Attributes:
        name: of the engine.
        picture: a column a layer, in the model's order; None where nothing was timed.
        summary: in words: the time of one inference, and the share of each precision.
        slowest: the layers that take longest: name, precision, time, share.
        kinds: everything the engine runs: kind, precision, number of layers, time, share.
        reason: why there is nothing else.
    """

    name: str
    picture: Markup | None
    summary: str
    slowest: tuple[tuple[str, ...], ...]
    kinds: tuple[tuple[str, ...], ...]
    reason: str | None


def layer_figures(report: Report) -> list[LayerFigure]:
    """One figure an engine that was inspected, in the order of the rows."""
    names = dict(zip((row.bundle for row in report.rows), labels(report.rows), strict=True))
    highest = max((layer.milliseconds or 0.0 for engine in report.layers for layer in engine.layers), default=0.0)
    return [_figure(names[engine.bundle], engine, highest) for engine in report.layers if engine.bundle in names]


def total_ms(engine: EngineLayers) -> float | None:
    """Milliseconds of one inference in all its layers; None where they were not measured."""
    times = [kind.milliseconds for kind in engine.kinds if kind.milliseconds is not None]
    return sum(times) if times else None


def _figure(name: str, engine: EngineLayers, highest: float) -> LayerFigure:
    total = total_ms(engine)
    timed = [layer for layer in engine.layers if layer.milliseconds is not None]
    drawn = _columns(f"Time of each layer of {name}", engine.layers, highest) if timed and highest > 0 else None
    slowest = sorted(timed, key=lambda layer: -(layer.milliseconds or 0.0))[:SLOWEST]
    return LayerFigure(
        name,
        drawn,
        _summary(engine, total),
        tuple(
            (layer.name, _runs(layer), _milliseconds(layer.milliseconds), _share(layer.milliseconds, total))
            for layer in slowest
        ),
        tuple(
            (
                kind.kind,
                kind.precision,
                str(kind.layers),
                _milliseconds(kind.milliseconds),
                _share(kind.milliseconds, total),
            )
            for kind in engine.kinds
        ),
        engine.reason,
    )


def _summary(engine: EngineLayers, total: float | None) -> str:
    """``103 weighted layers: 101 int8, 2 fp32; 7.21 ms, 84 % of it in int8``."""
    if not engine.layers:
        return ""
    counts: dict[str, int] = {}
    for layer in engine.layers:
        counts[layer.runs or "unknown"] = counts.get(layer.runs or "unknown", 0) + layer.name.count(" + ") + 1
    layers = ", ".join(f"{count} {precision}" for precision, count in sorted(counts.items()))
    text = f"{sum(counts.values())} weighted layers: {layers}"
    if not total:
        return f"{text}."
    spent: dict[str, float] = {}
    for kind in engine.kinds:
        spent[kind.precision] = spent.get(kind.precision, 0.0) + (kind.milliseconds or 0.0)
    precision, most = max(spent.items(), key=lambda item: item[1])
    return f"{text}; {measure(total, 'ms')} with the profiler on, {_share(most, total)} of it in {precision}."


def _columns(title: str, layers: Sequence[LayerTime], highest: float) -> Markup:
    bottom, right = _HEIGHT - 24, _WIDTH - 4
    down = Scale.around([0.0, highest], bottom, _TOP, ticks=4)
    parts = [_legend(layers)]
    for value in down.ticks():
        parts.append(line(_LEFT, down(value), right, down(value), "grid" if value else "zero"))
        parts.append(text(_LEFT - 6, down(value) + 5, tick_words(value), "tick", "end"))
    step = (right - _LEFT) / len(layers)
    for place, layer in enumerate(layers):
        spent = layer.milliseconds or 0.0
        told = f"{layer.name}: {_runs(layer)}, {_milliseconds(layer.milliseconds)}"
        bar = element(
            "rect",
            element("title", told),
            x=_LEFT + place * step,
            y=down(spent),
            width=max(step * 0.82, 0.6),
            height=max(bottom - down(spent), 0.5),
            class_=f"layer {precision_class(layer.runs)}",
        )
        parts.append(bar)
    parts.append(text(0, 14, "ms", "axis"))
    parts.append(text((_LEFT + right) / 2, _HEIGHT - 4, "layers, from the input to the output", "axis", "middle"))
    return picture(_WIDTH, _HEIGHT, title, *parts)


def _legend(layers: Sequence[LayerTime]) -> Markup:
    used = {precision_class(layer.runs): layer.runs or "unknown" for layer in layers}
    parts, x = [], _LEFT
    for class_, words in sorted(used.items()):
        parts.append(element("rect", x=x, y=4, width=12, height=12, rx=2, class_=f"layer {class_}"))
        parts.append(text(x + 18, 14, words, "tick"))
        x += 18 + text_width(words, 13) + 16
    return join(parts)


def precision_class(runs: str | None) -> str:
    """The CSS class that colours a precision."""
    return f"p-{runs}" if runs in PRECISIONS else "p-other"


def _runs(layer: LayerTime) -> str:
    asked = "" if layer.runs in (layer.asked, None) else f" ({layer.asked} asked)"
    return f"{layer.runs or 'unknown'}{asked}"


def _milliseconds(value: float | None) -> str:
    return NONE if value is None else f"{number(value, 3)} ms"


def _share(value: float | None, total: float | None) -> str:
    return NONE if value is None or not total else f"{number(100 * value / total, 0)} %"
