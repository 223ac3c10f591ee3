"""INT8 weights: no saturation, half a step of error, scales that are exact in the graph's own number format."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resnest_edge.grid import SMALLEST_SCALE
from resnest_edge.quantize.placement import Placement
from resnest_edge.quantize.weights import quantize_weight, round_up
from resnest_edge.spec import QdqStyle

DTYPES: list[np.dtype[Any]] = [np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
dtypes = st.sampled_from(DTYPES)
limits = st.sampled_from([64, 127])
weights = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=5),
    elements=st.floats(-10, 10, width=32) | st.sampled_from([0.0, 1.0, -1.0, 127.0, 2.0**-30]),
)
positive = hnp.arrays(np.float64, st.integers(1, 8), elements=st.floats(2.0**-14, 60000))


def steps(scales: npt.NDArray[Any], rank: int, axis: int) -> npt.NDArray[np.float64]:
    """Scales in float64, shaped to multiply a weight."""
    shape = [1] * rank
    shape[axis] = -1
    return scales.astype(np.float64).reshape(shape)


@given(weights, st.data(), limits, dtypes)
def test_no_weight_saturates_and_none_is_off_by_more_than_half_a_step(
    weight: npt.NDArray[np.float32], data: st.DataObject, limit: int, dtype: np.dtype[Any]
) -> None:
    axis = data.draw(st.integers(0, weight.ndim - 1))
    integers, scales = quantize_weight(weight, axis, limit=limit, scale_dtype=dtype)
    assert integers.dtype == np.int8
    assert integers.shape == weight.shape
    assert scales.shape == (weight.shape[axis],)
    assert scales.dtype == dtype
    assert np.abs(integers.astype(int)).max() <= limit
    step = steps(scales, weight.ndim, axis)
    # 1e-9 of a step covers float64's rounding of the quotient.
    assert (np.abs(integers * step - weight) <= step * (0.5 + 1e-9)).all()


@given(weights, limits, dtypes)
def test_the_scale_is_the_smallest_that_covers_the_channel(
    weight: npt.NDArray[np.float32], limit: int, dtype: np.dtype[Any]
) -> None:
    _, scales = quantize_weight(weight, 0, limit=limit, scale_dtype=dtype)
    for channel, scale in zip(weight, scales.astype(np.float64), strict=True):
        needed = max(float(np.abs(channel).max()) / limit, SMALLEST_SCALE)
        # One unit in the last place of 24, 11 or 8 bits above what is needed, at most.
        bits = {4: 23, 2: 10}[dtype.itemsize] if dtype != ml_dtypes.bfloat16 else 7
        assert needed <= scale <= needed * (1 + 2.0**-bits)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_channel_does_not_coarsen_another(dtype: np.dtype[Any]) -> None:
    weight = np.array([[1000.0, -500.0], [0.01, -0.02]], np.float32)
    integers, scales = quantize_weight(weight, 0, limit=127, scale_dtype=dtype)
    assert np.abs(integers).max(1).tolist() == [127, 127] or dtype != np.float32
    assert np.abs(integers * steps(scales, 2, 0) - weight).max(1)[1] < 0.02 / 127


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_zero_channel_stays_zero(dtype: np.dtype[Any]) -> None:
    integers, scales = quantize_weight(np.zeros((2, 3, 1, 1), np.float32), 0, limit=127, scale_dtype=dtype)
    assert not integers.any()
    assert (scales.astype(np.float64) == SMALLEST_SCALE).all()


def test_ties_go_to_even() -> None:
    weight = np.array([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]], np.float32)
    integers, scales = quantize_weight(weight, 0, limit=127, scale_dtype=np.dtype(np.float32))
    assert scales.tolist() == [1.0]
    assert integers.tolist() == [[127, 0, 2, 2, 0, -2]]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_axis_names_the_channels(axis: int) -> None:
    weight = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    integers, scales = quantize_weight(weight, axis, limit=127, scale_dtype=np.dtype(np.float32))
    moved, same = quantize_weight(np.moveaxis(weight, axis, 0), 0, limit=127, scale_dtype=np.dtype(np.float32))
    np.testing.assert_array_equal(np.moveaxis(integers, axis, 0), moved)
    np.testing.assert_array_equal(scales, same)


def test_two_products_of_7_bit_weights_fit_16_bits() -> None:
    """What the 7 bits are for: vpmaddubsw adds two products of uint8 and int8 in 16 bits, saturating."""
    seven, eight = (Placement(QdqStyle.CPU, weight_bits=bits).weight_limit for bits in (7, 8))
    assert 2 * 255 * seven <= 32767 < 2 * 255 * eight
    assert (seven, eight) == (64, 127)


@given(positive, dtypes)
def test_round_up_is_the_next_number_not_below(values: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> None:
    rounded = round_up(values, dtype)
    assert rounded.dtype == dtype
    assert (rounded.astype(np.float64) >= values).all()
    below = (rounded.view(f"u{dtype.itemsize}") - 1).view(dtype)
    assert (below.astype(np.float64) < values).all()


@given(st.lists(st.integers(0x0400, 0x7BFF), min_size=1))
def test_round_up_keeps_what_is_exact(bits: list[int]) -> None:
    exact = np.array(bits, np.uint16).view(np.float16)
    np.testing.assert_array_equal(round_up(exact.astype(np.float64), np.dtype(np.float16)), exact)


def test_round_up_beyond_the_type_is_infinite() -> None:
    assert math.isinf(round_up(np.array([65504.1]), np.dtype(np.float16))[0])
    assert math.isinf(round_up(np.array([1e6]), np.dtype(np.float16))[0])


@given(weights, limits, dtypes)
def test_mse_errs_no_more_than_max_and_never_beyond_the_limit(
    weight: npt.NDArray[np.float32], limit: int, dtype: np.dtype[Any]
) -> None:
    errors = {}
    for method in ("max", "mse"):
        integers, scales = quantize_weight(weight, 0, limit=limit, scale_dtype=dtype, method=method)
        assert scales.dtype == dtype and np.abs(integers.astype(int)).max() <= limit
        assert (scales.astype(np.float64) >= SMALLEST_SCALE).all()
        difference = integers * steps(scales, weight.ndim, 0) - weight
        errors[method] = np.square(difference).reshape(len(weight), -1).sum(1)
    assert (errors["mse"] <= errors["max"]).all()


def test_mse_saturates_one_outlier_for_the_sake_of_the_others() -> None:
    weight = np.append(np.random.default_rng(0).uniform(-1, 1, 20_000), 1.3).astype(np.float32)[None]
    for method, saturates in (("max", False), ("mse", True)):
        integers, scales = quantize_weight(weight, 0, limit=64, scale_dtype=np.dtype(np.float32), method=method)
        assert (abs(integers[0, -1]) * float(scales[0]) < 1.29) == saturates
