"""Cross-layer equalisation: channel ranges evened out where layers meet across a ReLU, exactly.

For a positive s, ``relu(s·x) = s·relu(x)``, so an output channel of one layer may be divided by s where the next ones
multiply what they read of it by s (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", arXiv 1906.04721, section 4.1). The paper's s makes the largest weight of channel i the same on both sides:
s = √(r₁/r₂). Here s is the nearest power of two, so that every number keeps its digits and the logits every bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from resnest_edge.graph.model import add_initializer
from resnest_edge.quantize.layer_inputs import channel_axis

_HOMOGENEOUS = frozenset({"Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
"""Operators that keep channels apart and take a positive factor out of each."""
_ROUNDS = 20  # chains settle in a few; the bound is for what does not
_LARGEST = 16  # powers of two that one round may move: dead channels would run to infinity

_Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Meeting:
    """A layer, and the layers that read its output across a ReLU and nothing else does."""

    source: ir.Node
    readers: tuple[ir.Node, ...]


def equalise(core: ir.Model) -> ir.Model:
    """Even out the weights of layers that meet across a ReLU (or pools); the core is left as it was.

    Args:
        core: FP32 core graph.

    Returns:
        A graph whose logits are those of ``core`` bit for bit, as long as no weight underflows.
    """
    model = core.clone()
    found = meetings(model.graph)
    for _ in range(_ROUNDS):
        moved = [_equalise(model.graph, meeting) for meeting in found]
        if not any(moved):
            break
    return model


def meetings(graph: ir.Graph) -> list[Meeting]:
    """Every layer whose output reaches only layers, through ReLUs and pools, all with weights of their own."""
    found = []
    for node in graph:
        if not _is_layer(node):
            continue
        readers = _readers(node.outputs[0])
        if readers:
            found.append(Meeting(node, tuple(readers)))
    return found


def _readers(value: ir.Value) -> list[ir.Node] | None:
    """The layers that a tensor ends in; None where something else reads it."""
    if value.is_graph_output():
        return None
    layers: list[ir.Node] = []
    for node, index in value.uses():
        if node.op_type in _HOMOGENEOUS and len(node.outputs) == 1:
            behind = _readers(node.outputs[0])
            if behind is None:
                return None
            layers.extend(behind)
        elif index == 0 and _is_layer(node):
            layers.append(node)
        else:
            return None
    return layers


def _is_layer(node: ir.Node) -> bool:
    """A convolution or fully connected layer with constants that nothing else reads."""
    if node.op_type not in ("Conv", "Gemm") or len(node.inputs) < 2:
        return False
    transposed = node.attributes.get("transA")
    constants = [value for value in node.inputs[1:] if value is not None]
    return (transposed is None or not transposed.value) and all(
        value.const_value is not None and len(value.uses()) == 1 for value in constants
    )


def _equalise(graph: ir.Graph, meeting: Meeting) -> bool:
    """One round for one meeting; whether anything moved."""
    ours = _largest(_outputs_first(meeting.source))
    theirs = np.max([_largest(_inputs_first(node)) for node in meeting.readers], axis=0)
    alive = (ours > 0) & (theirs > 0)
    exponents = np.zeros(len(ours))
    exponents[alive] = np.clip(np.rint(np.log2(ours[alive] / theirs[alive]) / 2), -_LARGEST, _LARGEST)
    if not exponents.any():
        return False
    factors = np.exp2(exponents)
    _divide_outputs(graph, meeting.source, factors)
    for node in meeting.readers:
        _multiply_inputs(graph, node, factors)
    return True


def _largest(channels_first: npt.NDArray[np.float32]) -> _Float:
    largest: _Float = np.abs(channels_first.reshape(len(channels_first), -1)).max(1).astype(np.float64)
    return largest


def _outputs_first(node: ir.Node) -> npt.NDArray[np.float32]:
    weight = _weight(node)
    return np.moveaxis(weight, channel_axis(node, weight.ndim), 0)


def _inputs_first(node: ir.Node) -> npt.NDArray[np.float32]:
    """(input channels, …): of a grouped convolution, each group reads its own."""
    weight = _weight(node)
    if node.op_type == "Gemm":
        return np.moveaxis(weight, 1 - channel_axis(node, 2), 0)
    groups = _groups(node)
    parts = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1).swapaxes(1, 2)
    return np.asarray(parts.reshape(groups * weight.shape[1], -1), np.float32)


def _divide_outputs(graph: ir.Graph, node: ir.Node, factors: _Float) -> None:
    weight = _weight(node)
    shape = [1] * weight.ndim
    shape[channel_axis(node, weight.ndim)] = -1
    _replace(graph, node, 1, weight / factors.reshape(shape))
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and bias.const_value is not None:
        _replace(graph, node, 2, bias.const_value.numpy() / factors)


def _multiply_inputs(graph: ir.Graph, node: ir.Node, factors: _Float) -> None:
    weight = _weight(node)
    if node.op_type == "Gemm":
        shape = [1, 1]
        shape[1 - channel_axis(node, 2)] = -1
        _replace(graph, node, 1, weight * factors.reshape(shape))
        return
    groups = _groups(node)
    parts = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
    scaled = parts * factors.reshape(groups, 1, weight.shape[1], 1)
    _replace(graph, node, 1, scaled.reshape(weight.shape))


def _weight(node: ir.Node) -> npt.NDArray[np.float32]:
    value = node.inputs[1]
    assert value is not None and value.const_value is not None
    weight: npt.NDArray[np.float32] = value.const_value.numpy()
    return weight


def _groups(node: ir.Node) -> int:
    found = node.attributes.get("group")
    return 1 if found is None else int(found.value)


def _replace(graph: ir.Graph, node: ir.Node, index: int, values: npt.NDArray[np.floating]) -> None:
    """Another constant under the old one's name, so that everything that names it still finds it."""
    old = node.inputs[index]
    assert old is not None
    name = old.name or ""
    graph.initializers.pop(name)
    old.name = f"{name}.before"
    node.replace_input_with(index, add_initializer(graph, name, values.astype(np.float32), ir.DataType.FLOAT))
