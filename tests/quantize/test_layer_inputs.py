"""The rows that a weight multiplies: their products are the layer's own outputs, position by position."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.quantize.layer_inputs import LayerInput, RoundedWeight, corrected_layers, rounded_weights
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import QdqStyle
from tests.support.graphs import parse
from tests.support.onnx_run import run_ort
from tests.support.tiny import KINDS, tiny_core

PORTABLE = Placement(QdqStyle.PORTABLE)
EVERY = 10**6
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    kernel=pairs,
    strides=pairs,
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.integers(0, 2)] * 2),
    groups=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_times_the_matrix_are_the_convolution(
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, int],
    groups: int,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((2, 4, 7, 8)).astype(np.float32)
    kernels = generator.standard_normal((8, 4 // groups, *kernel)).astype(np.float32)
    found = LayerInput("x", kernel, strides, dilations, (*pads, *pads), groups)
    rows = found.rows(values, EVERY)
    weight = RoundedWeight("w", kernels.shape, 0, (found,))
    product = rows @ weight.matrix(kernels).swapaxes(1, 2)  # (groups, N·positions, outputs per group)
    expected = torch.nn.functional.conv2d(
        torch.from_numpy(values), torch.from_numpy(kernels), None, strides, pads, dilations, groups
    ).numpy()
    ordered = expected.reshape(2, groups, 8 // groups, -1).transpose(1, 0, 3, 2).reshape(product.shape)
    np.testing.assert_allclose(product, ordered, atol=1e-4)
    np.testing.assert_array_equal(weight.unmatrix(weight.matrix(kernels)), kernels)
    assert weight.columns == (groups, rows.shape[2])
    of_images = rows.reshape(groups, 2, -1, rows.shape[2]).mean(2).swapaxes(0, 1)
    np.testing.assert_allclose(found.means(values), of_images, atol=1e-5)


@given(st.integers(1, 40), st.integers(0, 500), st.integers(1, 9), st.integers(1, 9))
def test_a_sample_is_some_of_the_rows_and_never_more_than_asked(most: int, first: int, height: int, width: int) -> None:
    values = np.arange(height * width, dtype=np.float32).reshape(1, 1, height, width)
    taken = LayerInput("x", (1, 1)).rows(values, most, first).ravel()
    assert 1 <= len(taken) <= most
    assert len(set(taken.tolist())) == len(taken)
    if most >= height * width:
        np.testing.assert_array_equal(taken, values.ravel())


def test_images_begin_at_different_positions_and_reach_them_all() -> None:
    values = np.arange(20 * 20, dtype=np.float32).reshape(1, 1, 20, 20)
    source = LayerInput("x", (1, 1))
    reached = {value for image in range(25) for value in source.rows(values, 16, image).ravel().tolist()}
    assert reached == set(range(400))


@given(st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_a_matrix_product_reads_its_last_axis(between: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((3, *[2] * between, 5)).astype(np.float32)
    kernel = generator.standard_normal((5, 4)).astype(np.float32)
    source = LayerInput("x")
    weight = RoundedWeight("w", kernel.shape, 1, (source,))
    product = (source.rows(values, EVERY) @ weight.matrix(kernel).swapaxes(1, 2))[0]
    np.testing.assert_allclose(product, (values @ kernel).reshape(-1, 4), atol=1e-5)
    np.testing.assert_allclose(source.means(values)[:, 0], values.reshape(3, -1, 5).mean(1), atol=1e-6)
    np.testing.assert_array_equal(weight.unmatrix(weight.matrix(kernel)), kernel)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_a_resnest_can_be_rounded(kind: str) -> None:
    core = tiny_core(**KINDS[kind]).core
    weights = {node.inputs[1].name for node in core.graph if node.op_type in ("Conv", "Gemm") and node.inputs[1]}
    assert {weight.name for weight in rounded_weights(core, PORTABLE)} == weights


def test_layers_kept_in_float_are_not_rounded() -> None:
    core = tiny_core().core
    kept = Placement(QdqStyle.PORTABLE, keep_float=frozenset({"fc"}))
    before, after = ({w.name for w in rounded_weights(core, place)} for place in (PORTABLE, kept))
    assert len(before - after) == 1 and after < before


@pytest.mark.parametrize("automatic", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("size", "kernel", "stride"), [(6, 3, 2), (5, 2, 1), (7, 3, 3)])
def test_automatic_padding_is_worked_out(automatic: str, size: int, kernel: int, stride: int) -> None:
    model = parse(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 1, {size}, {size}] images) => (float[n, 1, h, w] logits)
        <float[1, 1, {kernel}, {kernel}] w = {{{", ".join(str(1 + i) for i in range(kernel * kernel))}}}>
        {{ logits = Conv <auto_pad = "{automatic}", strides = [{stride}, {stride}]> (images, w) }}
    """)
    images = np.random.default_rng(0).standard_normal((2, 1, size, size)).astype(np.float32)
    (weight,) = rounded_weights(model, PORTABLE)
    product = weight.inputs[0].rows(images, EVERY) @ np.arange(1.0, kernel * kernel + 1).reshape(1, -1, 1)
    (expected,) = run_ort(model, images)
    np.testing.assert_allclose(product.ravel(), expected.ravel(), atol=1e-4)


def test_automatic_padding_of_a_map_of_any_size_is_rounded_to_nearest_and_not_corrected() -> None:
    model = parse("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 1, h, w] images) => (float[n, 1, h, w] logits)
        <float[1, 1, 1, 1] k = {1}> { logits = Conv <auto_pad = "SAME_UPPER"> (images, k) }
    """)
    assert rounded_weights(model, PORTABLE) == [] and corrected_layers(model, PORTABLE) == []


def test_grouped_layers_are_plain() -> None:
    model = parse("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 2, 4, 4] images) => (float[n, 2, 4, 4] logits)
        <float[2, 1, 1, 1] w = {1, 2}, float[1, 2, 1, 1] v = {1, 2}>
        { a = Relu (images) \n logits = Conv <pads = [0, 0, 0, 0], group = 2> (images, w) \n b = Conv (a, v) }
    """)
    assert [weight.name for weight in rounded_weights(model, PORTABLE)] == ["w", "v"]


def test_a_shared_weight_reads_the_inputs_of_all_its_layers() -> None:
    model = parse("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 2, 4, 4] images) => (float[n, 2, 4, 4] logits)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}>
        { a = Conv (images, w) \n b = Relu (a) \n logits = Conv (b, w) }
    """)
    (weight,) = rounded_weights(model, PORTABLE)
    assert [each.tensor for each in weight.inputs] == ["images", "b"]


def gemm(attributes: str, shape: str) -> Any:
    return parse(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 3] images) => (float[n, 2] logits)
        <float[{shape}] w = {{1, 2, 3, 4, 5, 6}}> {{ logits = Gemm <{attributes}> (images, w) }}
    """)


def test_a_scaled_product_is_rounded_to_nearest() -> None:
    assert [weight.axis for weight in rounded_weights(gemm("transB = 1", "2, 3"), PORTABLE)] == [0]
    assert [weight.axis for weight in rounded_weights(gemm("transB = 0", "3, 2"), PORTABLE)] == [1]
    assert rounded_weights(gemm("alpha = 0.5, transB = 1", "2, 3"), PORTABLE) == []


def as_rows(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return LayerInput("x", (1, 1)).rows(values, EVERY)


def test_rows_are_contiguous_float32() -> None:
    rows = as_rows(np.ones((2, 3, 4, 4), np.float32))
    assert rows.dtype == np.float32 and rows.flags.c_contiguous and rows.shape == (1, 32, 3)
