"""What a runtime made of a typed graph: the layers an engine runs, and which of the graph's nodes each one holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from resnest_edge.spec import Precision

_WIDTH = {Precision.INT8.value: 0, Precision.BF16.value: 1, Precision.FP16.value: 1, Precision.FP32.value: 2}


@dataclass(frozen=True)
class EngineLayer:
    """One layer as the runtime runs it.

    Attributes:
        name: the runtime's name for it.
        kind: the runtime's word for what it is.
        origins: names of the graph's nodes that were fused into it, as far as the runtime tells.
        precision: what it computes in, in this package's words where it has one; None where the runtime does not say.
        matrix: whether it is a convolution or a matrix product.
        kernel: the kernel chosen for it; empty where the runtime does not say.
        milliseconds: time of one inference spent in it; None where it was not measured.
    """

    name: str
    kind: str
    origins: tuple[str, ...]
    precision: str | None
    matrix: bool
    kernel: str = ""
    milliseconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "origins": list(self.origins)}


@dataclass(frozen=True)
class ModelLayer:
    """One weighted layer of the model, and what became of it.

    Attributes:
        name: its name in the model, such as ``layer3.4.split_attention.conv.0``.
        asked: precision written into the typed graph.
        runs: precision it runs in; None where the runtime does not say.
        engine_layer: the runtime's layer that holds it; None where none names it.
        kind: the runtime's word for that layer.
        kernel: the kernel chosen for it.
        milliseconds: time of one inference spent in that layer, with whatever was fused into it.
    """

    name: str
    asked: str
    runs: str | None
    engine_layer: str | None
    kind: str = ""
    kernel: str = ""
    milliseconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def map_layers(asked: Mapping[str, str], layers: Iterable[EngineLayer]) -> list[ModelLayer]:
    """Find each of the model's weighted layers in the engine.

    A runtime may cut one layer into several; then the convolution or matrix product counts, and among several of those
    the one of the widest precision, so that nothing that is not INT8 passes as INT8.

    Args:
        asked: precision of every weighted layer, by name (a manifest's ``layers``).
        layers: what the engine runs.
    """
    holders: dict[str, list[EngineLayer]] = {name: [] for name in asked}
    for layer in layers:
        for origin in layer.origins:
            if origin in holders:
                holders[origin].append(layer)
    return [_model_layer(name, precision, holders[name]) for name, precision in asked.items()]


def find_warnings(layers: Iterable[ModelLayer]) -> list[str]:
    """What somebody who asked for INT8 has to know, as sentences without a final full stop; every layer is named."""
    missed: dict[str, list[str]] = {}
    unknown: list[str] = []
    for layer in layers:
        if layer.asked != Precision.INT8.value or layer.runs == layer.asked:
            continue
        if layer.runs is None:
            unknown.append(layer.name)
        else:
            missed.setdefault(layer.runs, []).append(layer.name)
    found = [
        f"asked to run in INT8, and {'runs' if len(names) == 1 else 'run'} in {precision.upper()}: {', '.join(names)}"
        for precision, names in missed.items()
    ]
    if unknown:
        found.append(f"asked to run in INT8, and the runtime does not say what they run in: {', '.join(unknown)}")
    return found


def _model_layer(name: str, asked: str, holders: list[EngineLayer]) -> ModelLayer:
    if not holders:
        return ModelLayer(name, asked, None, None)
    matrix = [layer for layer in holders if layer.matrix]
    chosen = max(matrix or holders, key=lambda layer: _WIDTH.get(layer.precision or "", 3))
    runs = chosen.precision if chosen.matrix else None
    return ModelLayer(name, asked, runs, chosen.name, chosen.kind, chosen.kernel, chosen.milliseconds)
