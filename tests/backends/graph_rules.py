"""TensorRT's rules for a Q/DQ graph, as checks of a model.

NVIDIA TensorRT, "Working with Quantized Types"; Model-Optimizer pull requests 425 and 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnx_ir as ir
from onnx import NodeProto, numpy_helper

from resnest_edge.graph.model import to_bytes

MATRIX = ("Conv", "Gemm", "MatMul")


class Graph:
    """An INT8 graph, with who gives what."""

    def __init__(self, model: ir.Model) -> None:
        proto = onnx.load_from_string(to_bytes(model))
        self.nodes = list(proto.graph.node)
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        self.givers = {name: node for node in self.nodes for name in node.output}

    def of_type(self, *operators: str) -> Iterator[NodeProto]:
        return (node for node in self.nodes if node.op_type in operators)

    def giver(self, name: str) -> str:
        """Operator that gives a tensor; ``constant`` or ``input`` where none does."""
        if name in self.constants:
            return "constant"
        return self.givers[name].op_type if name in self.givers else "input"


def zero_points_are_int8_and_zero(graph: Graph) -> None:
    nodes = list(graph.of_type("QuantizeLinear", "DequantizeLinear"))
    assert nodes
    for node in nodes:
        zero = graph.constants[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any(), node.name


def scales_are_fp16_positive_and_normal(graph: Graph) -> None:
    for node in graph.of_type("QuantizeLinear", "DequantizeLinear"):
        scale = graph.constants[node.input[1]]
        assert scale.dtype == np.float16 and (scale >= np.finfo(np.float16).smallest_normal).all(), node.name


def convolutions_read_both_operands_dequantized_and_their_bias_as_it_is(graph: Graph) -> None:
    for node in graph.of_type(*MATRIX):
        assert [graph.giver(name) for name in node.input[:2]] == ["DequantizeLinear"] * 2, node.name
        assert all(graph.giver(name) == "constant" for name in node.input[2:]), node.name


def activations_have_one_scale_and_kernels_one_for_each_output_channel(graph: Graph) -> None:
    for node in graph.of_type("Conv"):
        activation, kernel = (graph.givers[name] for name in node.input[:2])
        assert graph.constants[activation.input[1]].size == 1, node.name
        values, scale = (graph.constants[name] for name in kernel.input[:2])
        assert values.dtype == np.int8 and scale.shape == (values.shape[0],), node.name
        (axis,) = (attribute.i for attribute in kernel.attribute if attribute.name == "axis")
        assert axis == 0, node.name


def residual_adds_are_quantized_on_the_shortcut_only(graph: Graph) -> None:
    """The other branch comes straight from its convolution, so that both and the ReLU behind stay one kernel."""
    residual = [node for node in graph.of_type("Add") if {*map(graph.giver, node.input)} & {"Conv"}]
    assert residual
    for node in residual:
        assert sorted(map(graph.giver, node.input)) == ["Conv", "DequantizeLinear"], node.name


def nothing_else_is_quantized(graph: Graph) -> None:
    """Every Q is read by DQ alone, and every DQ by a convolution, a matrix product or a residual add."""
    readers: dict[str, set[str]] = {}
    for node in graph.nodes:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    for node in graph.of_type("QuantizeLinear"):
        assert readers[node.output[0]] == {"DequantizeLinear"}, node.name
    for node in graph.of_type("DequantizeLinear"):
        assert readers[node.output[0]] <= {*MATRIX, "Add"}, node.name


RULES: tuple[Callable[[Graph], None], ...] = (
    zero_points_are_int8_and_zero,
    scales_are_fp16_positive_and_normal,
    convolutions_read_both_operands_dequantized_and_their_bias_as_it_is,
    activations_have_one_scale_and_kernels_one_for_each_output_channel,
    residual_adds_are_quantized_on_the_shortcut_only,
    nothing_else_is_quantized,
)
