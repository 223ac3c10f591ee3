"""Cross-layer equalisation: the logits keep every bit, the ranges even out, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.graph.model import digest
from resnest_edge.quantize.equalisation import equalise, meetings
from tests.support.calibrated import pictures
from tests.support.graphs import parse
from tests.support.onnx_run import run_ort, run_reference
from tests.support.tiny import KINDS, tiny_core


def weight_of(model: ir.Model, node_name: str) -> npt.NDArray[np.float32]:
    node = next(node for node in model.graph if node.name == node_name)
    assert node.inputs[1] is not None and node.inputs[1].const_value is not None
    found: npt.NDArray[np.float32] = node.inputs[1].const_value.numpy()
    return found


def chain(
    generator: np.random.Generator, middle: str = "b = Relu (a)", second: str = "Conv", groups: int = 1
) -> ir.Model:
    """Two layers of very uneven channels across ``middle``."""
    first = generator.standard_normal((4, 3, 3, 3)) * np.exp2(generator.integers(-6, 7, (4, 1, 1, 1)))
    next_one = (
        generator.standard_normal((2, 4 // groups, 1, 1))
        * np.exp2(generator.integers(-6, 7, 4 // groups))[:, None, None]
    )
    bias = generator.standard_normal(4)
    text = [", ".join(map(repr, array.ravel().tolist())) for array in (first, bias, next_one)]
    model = parse(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 3, 6, 6] images) => (float[n, 2, h, w] logits)
        <float[4, 3, 3, 3] w1 = {{{text[0]}}}, float[4] b1 = {{{text[1]}}},
         float[2, {4 // groups}, 1, 1] w2 = {{{text[2]}}}>
        {{ a = Conv (images, w1, b1) \n {middle} \n logits = {second} <group = {groups}> (b, w2) }}
    """)
    for node, name in zip([node for node in model.graph if node.op_type == "Conv"], ("first", "second"), strict=True):
        node.name = name
    return model


MIDDLES = {
    "relu": "b = Relu (a)",
    "relu and pool": "r = Relu (a) \n b = MaxPool <kernel_shape = [2, 2]> (r)",
    "average": "r = Relu (a) \n b = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (r)",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_resnest_answers_the_same_to_the_last_bit(kind: str) -> None:
    core = tiny_core(**KINDS[kind]).core
    found = equalise(core)
    assert meetings(core.graph) and digest(found) != digest(core)
    images = pictures(4)
    (expected,), (logits,) = run_ort(core, images), run_ort(found, images)
    np.testing.assert_array_equal(logits, expected)


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(MIDDLES)), st.sampled_from([1, 2]))
def test_onnx_itself_answers_the_same_to_the_last_bit(seed: int, middle: str, groups: int) -> None:
    generator = np.random.default_rng(seed)
    model = chain(generator, MIDDLES[middle], groups=groups)
    images = generator.standard_normal((2, 3, 6, 6)).astype(np.float32)
    (expected,), (logits,) = run_reference(model, images), run_reference(equalise(model), images)
    np.testing.assert_array_equal(logits, expected)


@given(st.integers(0, 2**32 - 1))
def test_the_largest_weights_of_a_channel_end_within_a_factor_of_two(seed: int) -> None:
    found = equalise(chain(np.random.default_rng(seed)))
    ours = np.abs(weight_of(found, "first")).reshape(4, -1).max(1)
    theirs = np.abs(weight_of(found, "second")).max((0, 2, 3))
    # s is the nearest power of two to √(r₁/r₂): what is left of the ratio is 2^(±½) on each side
    assert (np.maximum(ours / theirs, theirs / ours) <= 2.0 * (1 + 1e-6)).all()


@given(st.integers(0, 2**32 - 1))
def test_a_second_time_changes_nothing(seed: int) -> None:
    once = equalise(chain(np.random.default_rng(seed)))
    assert digest(equalise(once)) == digest(once)


def test_factors_are_powers_of_two_and_cancel() -> None:
    model = chain(np.random.default_rng(1))
    found = equalise(model)
    down = weight_of(model, "first")[:, 0, 0, 0] / weight_of(found, "first")[:, 0, 0, 0]
    up = weight_of(found, "second")[0, :, 0, 0] / weight_of(model, "second")[0, :, 0, 0]
    np.testing.assert_array_equal(down, up)
    assert (np.log2(down) % 1 == 0).all() and (down != 1).any()


@pytest.mark.parametrize(
    "body",
    [
        "b = Sigmoid (a) \n logits = Conv (b, w2)",
        "b = Relu (a) \n c = Conv (b, w2) \n logits = Add (b, c)",
        "b = Relu (a) \n c = Conv (b, w2) \n logits = Conv (c, w2)",
    ],
    ids=["no ReLU", "another reader", "a shared weight"],
)
def test_what_would_change_the_answers_is_left_alone(body: str) -> None:
    model = parse(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 2, 6, 6] images) => (float[n, 2, h, w] logits)
        <float[2, 2, 1, 1] w1 = {{100, 1, 1, 100}}, float[2, 2, 1, 1] w2 = {{1, 0.01, 0.01, 1}}>
        {{ a = Conv (images, w1) \n {body} }}
    """)
    assert digest(equalise(model)) == digest(model)


def test_a_tensor_that_is_an_output_is_left_alone() -> None:
    model = parse("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 2, 6, 6] images) => (float[n, 2, 6, 6] logits, float[n, 2, 6, 6] b)
        <float[2, 2, 1, 1] w1 = {100, 1, 1, 100}, float[2, 2, 1, 1] w2 = {1, 0.01, 0.01, 1}>
        { a = Conv (images, w1) \n b = Relu (a) \n logits = Conv (b, w2) }
    """)
    assert not meetings(model.graph) and digest(equalise(model)) == digest(model)


def test_dead_channels_are_left_alone() -> None:
    model = parse("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 2, 6, 6] images) => (float[n, 2, 6, 6] logits)
        <float[2, 2, 1, 1] w1 = {0, 0, 64, 64}, float[2, 2, 1, 1] w2 = {1, 0, 1, 1}>
        { a = Conv (images, w1) \n b = Relu (a) \n logits = Conv (b, w2) }
    """)
    for node, name in zip([node for node in model.graph if node.op_type == "Conv"], ("first", "second"), strict=True):
        node.name = name
    found = equalise(model)
    assert weight_of(found, "first").ravel().tolist() == [0, 0, 8, 8]
    assert weight_of(found, "second").ravel().tolist() == [1, 0, 1, 8]


@pytest.mark.parametrize("transposed", [0, 1])
def test_fully_connected_layers_meet_too(transposed: int) -> None:
    model = parse(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 2] images) => (float[n, 2] logits)
        <float[2, 2] w1 = {{64, 1, 64, 1}}, float[2] b1 = {{3, 5}}, float[2, 2] w2 = {{1, 1, 0.25, 1}}>
        {{
            a = Gemm <transB = {transposed}> (images, w1, b1) \n b = Relu (a)
            logits = Gemm <transB = {transposed}> (b, w2)
        }}
    """)
    images = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    found = equalise(model)
    assert digest(found) != digest(model)
    np.testing.assert_array_equal(run_reference(found, images)[0], run_reference(model, images)[0])
