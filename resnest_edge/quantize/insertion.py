"""Write calibrated ranges into a core graph as explicit QuantizeLinear/DequantizeLinear pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from resnest_edge.calibration.scales import Scales
from resnest_edge.errors import GraphError, ScalesError
from resnest_edge.graph.float_types import convert_floats
from resnest_edge.graph.model import DTYPES, add_initializer, add_node
from resnest_edge.grid import Grid
from resnest_edge.quantize.global_pools import means_as_pools
from resnest_edge.quantize.layer_inputs import channel_axis
from resnest_edge.quantize.placement import Placement
from resnest_edge.quantize.points import quantized_nodes, quantized_uses
from resnest_edge.quantize.weights import quantize_weight, round_up


def quantize_graph(core: ir.Model, scales: Scales, placement: Placement) -> ir.Model:
    """Make the INT8 typed graph of one target; the core is left as it was.

    Args:
        core: FP32 core graph, the one ``scales`` were calibrated on.
        scales: a range for every tensor of :func:`activation_tensors`.
        placement: what the target wants quantized.

    Returns:
        A core graph in ``placement.float_type`` with Q/DQ around every quantized operator.

    Raises:
        GraphError: the graph holds Q/DQ already.
        ScalesError: a tensor has no calibrated range, or one whose scale the float type cannot hold; a weight's
            rounding is for another shape or width.
    """
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in core.graph):
        raise GraphError("this graph is quantized already", hint="Start from the FP32 model.")
    model = convert_floats(core, placement.float_type)
    if placement.global_pools:
        means_as_pools(model.graph)
    weights = {weight.name: weight.const_value for _, weight in quantized_nodes(core.graph, placement)}
    uses = quantized_uses(model.graph, placement)
    for value, readers in uses.items():
        dequantized = _round_trip(model.graph, value, written_grid(scales, value.name or "", placement), placement)
        for node, index in readers:
            node.replace_input_with(index, dequantized)
    for node, weight in list(quantized_nodes(model.graph, placement)):
        if node.inputs[1] is not weight:
            continue  # shared with a node before this one, which had it quantized for both
        _quantize_weight(model.graph, node, weight, weights[weight.name], scales, placement)
    model.graph.sort()
    return model


def activation_tensors(core: ir.Model, placement: Placement) -> list[str]:
    """Names of the tensors that need a calibrated range, in graph order."""
    return [value.name or "" for value in quantized_uses(core.graph, placement)]


def quantized_layers(model: ir.Model) -> list[str]:
    """Names of the weighted operators that read a dequantized weight and a dequantized activation."""
    return [
        node.name or ""
        for node in model.graph
        if node.op_type in ("Conv", "Gemm", "MatMul") and all(_is_dequantized(value) for value in node.inputs[:2])
    ]


def _is_dequantized(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def written_grid(scales: Scales, tensor: str, placement: Placement) -> Grid:
    """The grid of one activation tensor, its scale rounded up to the graph's float type.

    Raises:
        ScalesError: the tensor was not calibrated, or the float type cannot hold its scale.
    """
    seen = scales.ranges.get(tensor)
    if seen is None:
        raise ScalesError(f"tensor {tensor} was not calibrated", hint="Calibrate again for this target.")
    grid = Grid.covering(seen.low, seen.high, placement.style)
    scale = round_up(np.array([grid.scale]), DTYPES[placement.float_type].numpy())[0]
    if not np.isfinite(scale):
        raise ScalesError(
            f"tensor {tensor} needs a step of {grid.scale:.3g}, beyond {placement.float_type}",
            hint="Calibrate with another --method, or look at what the layer before it produces.",
        )
    return replace(grid, scale=float(scale))


def _round_trip(graph: ir.Graph, value: ir.Value, grid: Grid, placement: Placement) -> ir.Value:
    dtype = DTYPES[placement.float_type]
    integers = ir.DataType.UINT8 if grid.unsigned else ir.DataType.INT8
    scale_value = add_initializer(graph, f"{value.name}.scale", np.asarray(grid.scale), dtype)
    zero_point = add_initializer(graph, f"{value.name}.zero_point", np.asarray(grid.zero_point), integers)
    quantized = add_node(
        graph, "QuantizeLinear", [value, scale_value, zero_point], f"{value.name}.q", integers, value.shape
    )
    return add_node(
        graph, "DequantizeLinear", [quantized, scale_value, zero_point], f"{value.name}.dq", dtype, value.shape
    )


def _quantize_weight(
    graph: ir.Graph,
    node: ir.Node,
    weight: ir.Value,
    original: ir.TensorProtocol | None,
    learned: Scales,
    placement: Placement,
) -> None:
    """Replace a float weight by its INT8 values and a DequantizeLinear, for every node that reads it."""
    if original is None:
        raise GraphError(f"weight {weight.name} has no value")
    dtype = DTYPES[placement.float_type]
    array = original.numpy()
    axis = channel_axis(node, array.ndim)
    integers, scales = written_weight(weight.name or "", array, axis, learned, placement)
    stored = add_initializer(graph, f"{weight.name}.q", integers, ir.DataType.INT8)
    scale = add_initializer(graph, f"{weight.name}.scale", scales, dtype)
    zero_point = add_initializer(graph, f"{weight.name}.zero_point", np.zeros(len(scales)), ir.DataType.INT8)
    shape = ir.Shape(array.shape)
    dequantized = add_node(
        graph, "DequantizeLinear", [stored, scale, zero_point], f"{weight.name}.dq", dtype, shape, {"axis": axis}
    )
    for reader, index in list(weight.uses()):
        if reader.name not in placement.keep_float:
            reader.replace_input_with(index, dequantized)
    if not weight.uses():
        graph.initializers.pop(weight.name or "", None)


def written_weight(
    name: str, array: npt.NDArray[Any], axis: int, learned: Scales, placement: Placement
) -> tuple[npt.NDArray[np.int8], npt.NDArray[Any]]:
    """A weight's integers, its nearest ones or as they were rounded by their effect, and its scales.

    Args:
        name: of the constant in the core graph.
        array: the FP32 weight.
        axis: its output-channel axis.
        learned: its rounding, and how scales are chosen.
        placement: the width of weights, and the float type.

    Raises:
        ScalesError: the rounding is for another shape or width.
    """
    integers, scales = nearest_weight(array, axis, learned, placement)
    deltas = learned.deltas(name)
    if deltas is None:
        return integers, scales
    if deltas.size != integers.size:
        raise ScalesError(f"{name} has {integers.size} values, and its rounding {deltas.size}", hint="Calibrate again.")
    sums = integers.astype(np.int16) + deltas.reshape(integers.shape)
    if np.abs(sums).max(initial=0) > placement.weight_limit:
        raise ScalesError(f"{name} is rounded beyond {placement.weight_bits} bits", hint="Calibrate again.")
    return sums.astype(np.int8), scales


def nearest_weight(
    array: npt.NDArray[Any], axis: int, learned: Scales, placement: Placement
) -> tuple[npt.NDArray[np.int8], npt.NDArray[Any]]:
    """A weight's nearest integers and its scales, one for each output channel.

    Where weights were rounded, the scales are those that they were rounded with, whatever the graph's float type.

    Args:
        array: the FP32 weight.
        axis: its output-channel axis.
        learned: how scales are chosen, and in which number format.
        placement: the width of weights, and the float type.
    """
    return quantize_weight(
        array,
        axis,
        limit=placement.weight_limit,
        scale_dtype=DTYPES[learned.float_type or placement.float_type].numpy(),
        method=learned.weight_scales,
    )
