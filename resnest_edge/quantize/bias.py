"""Bias correction: the mean error that each quantized layer makes on real images, taken out of its bias.

Rounding weights and inputs shifts a layer's mean output (Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction", arXiv 1906.04721, section 4.2). The shift is measured, not modelled:
:func:`error_graph` runs every quantized layer beside its float twin *on the float network's own tensors*, so that one
layer's error is never charged to another. What is within the noise of few images is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from resnest_edge.errors import ScalesError
from resnest_edge.graph.model import add_initializer, add_node

_FLOAT = ir.DataType.FLOAT


def error_graph(core: ir.Model, quantized: ir.Model, *, squares: bool = False) -> tuple[ir.Model, list[str]]:
    """The float network with each quantized layer as a side branch on the float tensors.

    Args:
        core: FP32 core graph.
        quantized: what ``quantize_graph`` made of it, in FP32 around the Q/DQ.
        squares: give the means of the squared errors as well, behind all means, in the same order.

    Returns:
        A graph that gives, for each layer named in the list and in that order, the mean over positions of (quantized
        output − float output): (N, channels) float32.
    """
    model = core.clone()
    graph = model.graph
    known = {value.name or "": value for value in (*graph.inputs, *graph.initializers.values())}
    known.update({value.name or "": value for node in graph for value in node.outputs})
    layers = [node for node in quantized.graph if _correctable(node)]
    errors = [_error(graph, node, known) for node in layers]
    outputs = [_mean(graph, error, f"{error.name}.mean") for error in errors]
    if squares:
        for error in errors:
            square = add_node(graph, "Mul", [error, error], f"{error.name}.square", _FLOAT, error.shape)
            outputs.append(_mean(graph, square, f"{square.name}.mean"))
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    graph.sort()
    return model, [node.name or "" for node in layers]


class BiasErrors:
    """Accumulates the layers' mean errors, image by image, in constant memory."""

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = tuple(layers)
        self.images = 0
        self._sums: list[npt.NDArray[np.float64]] = []
        self._squares: list[npt.NDArray[np.float64]] = []

    def update(self, errors: Sequence[npt.NDArray[np.float32]]) -> None:
        """Count one batch: (N, channels) for each layer."""
        wide = [values.astype(np.float64) for values in errors]
        sums, squares = [values.sum(0) for values in wide], [np.square(values).sum(0) for values in wide]
        if self.images == 0:
            self._sums, self._squares = sums, squares
        else:
            self._sums = [old + new for old, new in zip(self._sums, sums, strict=True)]
            self._squares = [old + new for old, new in zip(self._squares, squares, strict=True)]
        self.images += len(wide[0])

    def corrections(self) -> dict[str, tuple[float, ...]]:
        """What to take from each layer's bias, per output channel.

        The mean error m is shrunk by ``max(0, 1 − s²/(n·m²))`` with s² its variance over n images: a mean that n images
        cannot tell from zero stays (the positive-part James-Stein factor). One image corrects nothing.
        """
        if self.images < 2:
            return {}
        found = {}
        for layer, total, squared in zip(self.layers, self._sums, self._squares, strict=True):
            mean = total / self.images
            variance = np.maximum(squared - self.images * np.square(mean), 0.0) / (self.images - 1)
            noise = np.divide(variance / self.images, np.square(mean), out=np.ones_like(mean), where=mean != 0)
            found[layer] = tuple((mean * np.maximum(0.0, 1.0 - noise)).astype(np.float32).tolist())
        return found


def shift_biases(core: ir.Model, corrections: Mapping[str, Sequence[float]]) -> ir.Model:
    """The core graph with ``bias − correction`` in every layer named; the core is left as it was.

    Raises:
        ScalesError: a layer that is not there, or that has another number of channels.
    """
    if not corrections:
        return core
    model = core.clone()
    nodes = {node.name or "": node for node in model.graph}
    for layer, values in corrections.items():
        node = nodes.get(layer)
        if node is None or node.op_type not in ("Conv", "Gemm"):
            raise ScalesError(f"bias corrections name a layer {layer} that is not in this graph")
        shift = np.asarray(values, np.float32)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        old = np.zeros_like(shift) if bias is None or bias.const_value is None else bias.const_value.numpy()
        if old.shape != shift.shape:
            raise ScalesError(f"{layer} has {old.size} channels, and its bias correction {shift.size}")
        new = add_initializer(model.graph, f"{layer}.bias.corrected", old - shift, _FLOAT)
        if len(node.inputs) < 3:
            node.resize_inputs(3)
        node.replace_input_with(2, new)
        if bias is not None and not bias.uses():
            model.graph.initializers.pop(bias.name or "", None)
    return model


def _correctable(node: ir.Node) -> bool:
    """Conv or Gemm (β = 1) with quantized input and weight, and a bias that is a constant or absent."""
    if node.op_type not in ("Conv", "Gemm") or not all(_is_dequantized(value) for value in node.inputs[:2]):
        return False
    beta = node.attributes.get("beta")
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return (beta is None or beta.value == 1.0) and (bias is None or bias.const_value is not None)


def _is_dequantized(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def _error(graph: ir.Graph, node: ir.Node, known: dict[str, ir.Value]) -> ir.Value:
    """Copy one quantized layer onto the float tensors, and give its error: (N, channels, …)."""
    name = node.outputs[0].name or ""
    inputs = [None if value is None else _lift(graph, value, known) for value in node.inputs]
    output = ir.Value(name=f"{name}.quantized", type=ir.TensorType(_FLOAT))
    graph.append(
        ir.Node("", node.op_type, inputs, list(node.attributes.values()), outputs=[output], name=f"{name}.quantized")
    )
    weight = node.inputs[1]
    rank = 4 if weight is None or weight.shape is None else weight.shape.rank()
    return add_node(graph, "Sub", [output, known[name]], f"{name}.error", _FLOAT, ir.Shape([None] * rank))


def _mean(graph: ir.Graph, value: ir.Value, output: str) -> ir.Value:
    """The mean over positions, (N, channels)."""
    shape = ir.Shape([None, None])
    rank = 2 if value.shape is None else value.shape.rank()
    axes = add_initializer(graph, f"{output}.positions", np.arange(2, rank), ir.DataType.INT64)
    # Without positions there is nothing to average; ReduceMean would take an empty list of axes for all of them.
    attributes = {"keepdims": 0, "noop_with_empty_axes": 1}
    return add_node(graph, "ReduceMean", [value, axes], output, _FLOAT, shape, attributes)


def _lift(graph: ir.Graph, value: ir.Value, known: dict[str, ir.Value]) -> ir.Value:
    """The value of the same name in ``graph``; Q/DQ and their constants are copied there on first use."""
    name = value.name or ""
    if name in known:
        return known[name]
    producer = value.producer()
    if producer is None:
        if value.const_value is None or value.dtype is None:
            raise ScalesError(f"{name} has no value")
        known[name] = add_initializer(graph, name, value.const_value.numpy(), value.dtype)
        return known[name]
    inputs = [None if source is None else _lift(graph, source, known) for source in producer.inputs]
    copy = ir.Value(name=name, type=value.type, shape=value.shape)
    graph.append(
        ir.Node("", producer.op_type, inputs, list(producer.attributes.values()), outputs=[copy], name=producer.name)
    )
    known[name] = copy
    return copy
