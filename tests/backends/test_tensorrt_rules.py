"""TensorRT's rules for a Q/DQ graph, asserted on every kind of graph that is written for it.

The rules: NVIDIA TensorRT, "Working with Quantized Types"; Model-Optimizer pull requests 425 and 2024.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import onnx
import pytest
from onnx import NodeProto, numpy_helper

from resnest_edge.graph.model import to_bytes
from resnest_edge.spec import Form, Precision
from tests.backends.typed_graphs import typed_graph

KINDS = [
    (0, 1, Form.SPLIT),
    (1, 1, Form.SPLIT),
    (2, 1, Form.SPLIT),
    (2, 1, Form.GROUPED),
    (2, 2, Form.DENSE),
    (2, 2, Form.SPLIT),
    (4, 2, Form.GROUPED),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))


class Graph:
    """An INT8 graph for TensorRT, with who gives what."""

    def __init__(self, kind: tuple[int, int, Form]) -> None:
        radix, cardinality, form = kind
        model = onnx.load_from_string(to_bytes(typed_graph(Precision.INT8, radix, cardinality, form).model))
        self.nodes = list(model.graph.node)
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.givers = {name: node for node in self.nodes for name in node.output}

    def of_type(self, *operators: str) -> Iterator[NodeProto]:
        return (node for node in self.nodes if node.op_type in operators)

    def giver(self, name: str) -> str:
        """Operator that gives a tensor; ``constant`` or ``input`` where none does."""
        if name in self.constants:
            return "constant"
        return self.givers[name].op_type if name in self.givers else "input"


@cache
def graph(kind: tuple[int, int, Form]) -> Graph:
    return Graph(kind)


@every_kind
def test_zero_points_are_int8_and_zero(kind: tuple[int, int, Form]) -> None:
    nodes = list(graph(kind).of_type("QuantizeLinear", "DequantizeLinear"))
    assert nodes
    for node in nodes:
        zero = graph(kind).constants[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any(), node.name


@every_kind
def test_scales_are_fp16_positive_and_normal(kind: tuple[int, int, Form]) -> None:
    for node in graph(kind).of_type("QuantizeLinear", "DequantizeLinear"):
        scale = graph(kind).constants[node.input[1]]
        assert scale.dtype == np.float16 and (scale >= np.finfo(np.float16).smallest_normal).all(), node.name


@every_kind
def test_convolutions_read_both_operands_dequantized_and_their_bias_as_it_is(kind: tuple[int, int, Form]) -> None:
    found = graph(kind)
    for node in found.of_type("Conv", "Gemm", "MatMul"):
        assert [found.giver(name) for name in node.input[:2]] == ["DequantizeLinear"] * 2, node.name
        assert all(found.giver(name) == "constant" for name in node.input[2:]), node.name


@every_kind
def test_activations_have_one_scale_and_kernels_one_for_each_output_channel(kind: tuple[int, int, Form]) -> None:
    found = graph(kind)
    for node in found.of_type("Conv"):
        activation, kernel = (found.givers[name] for name in node.input[:2])
        assert found.constants[activation.input[1]].size == 1, node.name
        values, scale = (found.constants[name] for name in kernel.input[:2])
        assert values.dtype == np.int8 and scale.shape == (values.shape[0],), node.name
        (axis,) = (attribute.i for attribute in kernel.attribute if attribute.name == "axis")
        assert axis == 0, node.name


@every_kind
def test_residual_adds_are_quantized_on_the_shortcut_only(kind: tuple[int, int, Form]) -> None:
    """The other branch comes straight from its convolution, so that both and the ReLU behind stay one kernel."""
    found = graph(kind)
    residual = [node for node in found.of_type("Add") if {*map(found.giver, node.input)} & {"Conv"}]
    assert residual
    for node in residual:
        assert sorted(map(found.giver, node.input)) == ["Conv", "DequantizeLinear"], node.name


@every_kind
def test_nothing_else_is_quantized(kind: tuple[int, int, Form]) -> None:
    """Every Q is read by DQ alone, and every DQ by a convolution, a matrix product or a residual add."""
    found = graph(kind)
    readers = [(name, node.op_type) for node in found.nodes for name in node.input]
    for node in found.of_type("QuantizeLinear"):
        assert {reader for name, reader in readers if name in node.output} == {"DequantizeLinear"}, node.name
    for node in found.of_type("DequantizeLinear"):
        assert {reader for name, reader in readers if name in node.output} <= {"Conv", "Gemm", "MatMul", "Add"}, (
            node.name
        )
