"""Each quantized layer beside its float twin: how much it errs by itself, on the float network's own tensors."""

from __future__ import annotations

import numpy as np
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
