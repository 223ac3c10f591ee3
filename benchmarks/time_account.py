"""Where an engine's time goes: each layer that a runtime executed, put to what it does in the network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from resnest_edge.backends.inspection import EngineLayer
from resnest_edge.graph.model import load_graph
from resnest_edge.quantize.placement import WEIGHTED

REST = ("gate", "pools", "adds", "conversions", "reorders", "input", "head", "other")
"""What is beside the convolutions, in the order of the tables."""

_CONVOLUTIONS = (
    (r"stem\.", "3×3"),
    (r"conv1(\.\d+)?$", "1×1 in"),
    (r"(split_attention\.conv|conv2)(\.\d+)?$", "3×3"),
    (r"conv3$", "1×1 out"),
    (r"downsample\.conv$", "1×1 shortcut"),
)
_GATE, _STAGE = ".attention.", re.compile(r"^layer(\d)\.")


@dataclass(frozen=True, order=True)
class Role:
    """What a layer does: a convolution's stage and kind as in :mod:`benchmarks.conv_chains`, else a kind alone."""

    stage: str
    kind: str


@dataclass(frozen=True)
class Part:
    """All layers of one role.

    Attributes:
        role: theirs.
        layers: how many have a time.
        milliseconds: theirs together.
        macs: multiply-accumulates of those with weights.
    """

    role: Role
    layers: int
    milliseconds: float
    macs: int


def role_of(layer: EngineLayer) -> Role:
    """A layer's role, from the names of the graph's nodes that it holds."""
    for origin in layer.origins if layer.matrix else ():
        if (found := _weighted(origin)) is not None:
            return found
    names = " ".join((*layer.origins, layer.name))
    if _GATE in names and "Reorder" not in layer.kind:
        return Role("", "gate")
    return Role("", _beside(layer, names))


def _weighted(origin: str) -> Role | None:
    """The role of a layer with weights; None where the name is of no such layer."""
    if _GATE in origin and re.search(r"\.fc\d", origin):
        return Role("", "gate")
    if origin == "fc":
        return Role("", "head")
    stage = _STAGE.match(origin)
    where = "stem" if origin.startswith("stem.") else f"stage {stage[1]}" if stage else None
    kind = next((kind for pattern, kind in _CONVOLUTIONS if re.search(pattern, origin)), None)
    return None if where is None or kind is None else Role(where, kind)


def _beside(layer: EngineLayer, names: str) -> str:
    """Which of :data:`REST` a layer without weights is."""
    kind = layer.kind
    if "preprocess" in names or "images" in names:
        return "input"
    if "Pool" in kind:
        return "pools"
    if "Reorder" in kind or kind in ("Transpose", "Reshape"):
        return "reorders"
    if any(word in names for word in ("probabilities", "logits", "fc", "Flatten")) or kind in ("Reduce", "ReduceMean"):
        return "head"
    if re.search(r"\.Add(\.|$| )", names) or kind in ("Add", "QLinearAdd", "Eltwise"):
        return "adds"
    if re.search(r"\.(q|dq)\b", names) or "Quantize" in kind or kind == "Convert":
        return "conversions"
    return "other"


def macs_of(graph: Path) -> dict[str, int]:
    """Multiply-accumulates for one image of each layer with weights, by its name: weights times output positions."""
    found = {}
    for node in load_graph(graph).graph:
        if node.op_type not in WEIGHTED or len(node.inputs) < 2:
            continue
        weight, made = node.inputs[1], node.outputs[0]
        assert weight is not None and weight.shape is not None and made.shape is not None
        positions = [size for size in list(made.shape)[2:] if isinstance(size, int)]
        found[node.name or ""] = prod(size for size in weight.shape if isinstance(size, int)) * prod(positions)
    return found


def account(layers: Iterable[EngineLayer], macs: Mapping[str, int]) -> dict[Role, Part]:
    """Layers summed by role; those without a time were not run, and do not count."""
    parts: dict[Role, Part] = {}
    for layer in layers:
        if layer.milliseconds is None:
            continue
        role = role_of(layer)
        before = parts.get(role, Part(role, 0, 0.0, 0))
        own = sum(macs.get(origin, 0) for origin in layer.origins) if layer.matrix else 0
        parts[role] = Part(role, before.layers + 1, before.milliseconds + layer.milliseconds, before.macs + own)
    return parts
