"""Which tensors are quantized, on graphs small enough to read."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from resnest_edge.quantize.placement import Placement
from resnest_edge.quantize.points import quantized_uses, shortcut_input
from resnest_edge.spec import QdqStyle
from tests.support.graphs import parse

HEAD = """
    <ir_version: 10, opset_import: ["" : 20]>
    g (float[1, 2, 4, 4] images, float[1, 2, 4, 4] other) => (float[1, 2, 4, 4] logits)
    <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[1, 2, 1, 1] c = {1, 2}>
"""


def graph(body: str) -> ir.Graph:
    return parse(f"{HEAD} {{ {body} }}").graph


def add_of(graph_: ir.Graph) -> ir.Node:
    return next(node for node in graph_ if node.op_type == "Add")


def chosen(graph_: ir.Graph, **options: object) -> dict[str, list[str]]:
    """Per quantized tensor, its quantized readers as ``node:input``."""
    uses = quantized_uses(graph_, Placement(QdqStyle.PORTABLE, **options))  # type: ignore[arg-type]
    return {value.name or "": [f"{node.name}:{index}" for node, index in readers] for value, readers in uses.items()}


@pytest.mark.parametrize(
    ("body", "index"),
    [
        ("a = Conv(images, w)  logits = Add(a, other)", 1),
        ("a = Conv(images, w)  logits = Add(other, a)", 0),
        # Both sides convolutions: the second is the shortcut.
        ("a = Conv(images, w)  b = Conv(other, w)  logits = Add(a, b)", 1),
        # A convolution that something else reads cannot fuse with the add.
        ("a = Conv(images, w)  b = Relu(a)  d = Add(a, other)  logits = Mul(b, d)", None),
        ("a = Conv(images, w)  b = Conv(a, w)  logits = Add(a, b)", 0),
        ("a = Conv(images, w)  b = Conv(a, w)  logits = Add(b, a)", 1),
        # A constant is a bias, not a shortcut.
        ("a = Conv(images, w)  logits = Add(a, c)", None),
        # Sums of other things, as inside the gate.
        ("a = Relu(images)  logits = Add(a, other)", None),
        ("a = Conv(images, w)  b = Relu(a)  logits = Add(b, other)", None),
        # The same tensor on both sides is no convolution with one reader.
        ("a = Conv(images, w)  logits = Add(a, a)", None),
    ],
)
def test_the_shortcut_of_a_residual_add(body: str, index: int | None) -> None:
    assert shortcut_input(add_of(graph(body))) == index


@pytest.mark.parametrize("operator", ["Mul", "Sub", "Max"])
def test_only_an_add_has_a_shortcut(operator: str) -> None:
    body = graph(f"a = Conv(images, w)  logits = {operator}(a, other)")
    assert [shortcut_input(node) for node in body] == [None, None]


RESIDUAL = "a = Conv(images, w)  b = Relu(a)  d = Conv(b, w)  e = Add(d, images)  logits = Relu(e)"


def test_weighted_inputs_and_the_shortcut() -> None:
    assert chosen(graph(RESIDUAL)) == {"images": ["a:0", "e:1"], "b": ["d:0"]}


def test_shortcuts_can_be_left_alone() -> None:
    assert chosen(graph(RESIDUAL), shortcuts=False) == {"images": ["a:0"], "b": ["d:0"]}


def test_operators_can_be_left_out() -> None:
    assert chosen(graph(RESIDUAL), operators=frozenset({"Gemm"})) == {"images": ["e:1"]}


def test_outputs_are_quantized_behind_their_relu() -> None:
    """A convolution and its ReLU stay one kernel, so the pair stands behind the ReLU; without one, right behind."""
    assert chosen(graph(RESIDUAL), outputs=True) == {"images": ["a:0", "e:1"], "b": ["d:0"], "d": ["e:0"]}


def test_an_output_of_the_graph_is_not_quantized() -> None:
    assert chosen(graph("logits = Conv(images, w)"), outputs=True) == {"images": ["logits:0"]}
    assert chosen(graph("a = Conv(images, w)  logits = Relu(a)"), outputs=True) == {"images": ["a:0"]}
    assert chosen(graph("logits = Conv(images, w)  b = Sigmoid(logits)"), outputs=True) == {"images": ["logits:0"]}


def test_a_relu_that_shares_its_convolution_does_not_hide_it() -> None:
    body = "a = Conv(images, w)  b = Relu(a)  d = Sigmoid(a)  logits = Mul(b, d)"
    assert chosen(graph(body), outputs=True) == {"images": ["a:0"], "a": ["b:0", "d:0"]}


def test_elementwise_operators_get_every_activation_and_no_constant() -> None:
    body = "a = Mul(images, other)  b = Add(a, c)  logits = Relu(b)"
    assert chosen(graph(body), elementwise=frozenset({"Mul", "Add"})) == {
        "images": ["a:0"],
        "other": ["a:1"],
        "a": ["b:0"],
    }


def test_a_reader_is_listed_once() -> None:
    body = "a = Conv(images, w)  logits = Add(a, other)"
    assert chosen(graph(body), elementwise=frozenset({"Add"}), outputs=True) == {
        "images": ["a:0"],
        "a": ["logits:0"],
        "other": ["logits:1"],
    }


def test_a_product_of_two_activations_is_left_alone() -> None:
    assert chosen(graph("logits = MatMul(images, other)")) == {}


def test_outputs_can_be_quantized_for_chosen_readers_only() -> None:
    """A map that is added stays INT8; what a sigmoid reads stays float, and so does a map that anything else reads."""
    readers = frozenset({"Add"})
    assert chosen(graph(RESIDUAL), outputs=True, output_readers=readers) == {
        "images": ["a:0", "e:1"],
        "b": ["d:0"],
        "d": ["e:0"],
    }
    gate = graph("a = Conv(images, w)  b = Sigmoid(a)  logits = Mul(b, other)")
    assert chosen(gate, outputs=True, output_readers=readers) == {"images": ["a:0"]}
    shared = graph("a = Conv(images, w)  b = Sigmoid(a)  logits = Add(a, b)")
    assert chosen(shared, outputs=True, output_readers=readers) == {"images": ["a:0"]}


def test_a_pool_before_layers_in_float_stays_in_float() -> None:
    body = "a = MaxPool <kernel_shape = [1, 1]> (images)  b = Relu(a)  d = Conv(b, w)  logits = Conv(b, w)"
    pools = frozenset({"MaxPool"})
    both = chosen(graph(body), elementwise=pools, keep_float=frozenset({"d", "logits"}))
    one = chosen(graph(body), elementwise=pools, keep_float=frozenset({"d"}))
    assert both == {}
    assert one == {"images": ["a:0"], "b": ["logits:0"]}
