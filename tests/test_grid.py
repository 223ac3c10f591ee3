"""The 8-bit grid: zero on it, half a step of error inside its range, and ONNX's own arithmetic."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.grid import SMALLEST_SCALE, Grid
from resnest_edge.spec import QdqStyle

LARGEST = float(np.finfo(np.float32).max)
reals = st.floats(-1e6, 1e6, width=32)
styles = st.sampled_from(list(QdqStyle))


@cache
def onnx_round_trip(unsigned: bool) -> Any:
    """ONNX's ReferenceEvaluator on QuantizeLinear → DequantizeLinear of (x, scale, zero_point)."""
    pytest.importorskip("onnx", reason="the oracle is ONNX's ReferenceEvaluator")
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    integers = TensorProto.UINT8 if unsigned else TensorProto.INT8
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [None]),
        helper.make_tensor_value_info("scale", TensorProto.FLOAT, []),
        helper.make_tensor_value_info("zero_point", integers, []),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero_point"], ["y"]),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])
    graph = helper.make_graph(nodes, "round_trip", inputs, [output])
    return ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))


def oracle(grid: Grid, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    zero_point = np.array(grid.zero_point, np.uint8 if grid.unsigned else np.int8)
    feeds = {"x": values, "scale": np.array(grid.scale, np.float32), "zero_point": zero_point}
    result: npt.NDArray[np.float32] = onnx_round_trip(grid.unsigned).run(None, feeds)[0]
    return result


grids = st.builds(
    lambda unsigned, zero_point, scale: Grid(
        scale, zero_point if unsigned else 0, 0 if unsigned else -128, 255 if unsigned else 127
    ),
    st.booleans(),
    st.integers(0, 255),
    st.integers(-12, 6).map(lambda k: 2.0**k),
)


@given(grids, st.lists(st.integers(-1200, 1200), min_size=1))
def test_round_trip_is_onnx_exactly_ties_and_saturation_included(grid: Grid, quarters: list[int]) -> None:
    """Multiples of a quarter step of a power-of-two scale are exact in float32, and every other one is a tie."""
    values = (np.array(quarters) * grid.scale / 4).astype(np.float32)
    np.testing.assert_array_equal(grid.round_trip(values.astype(np.float64)), oracle(grid, values))


@given(grids, st.floats(2.0**-13, 2.0**13, width=32), st.lists(st.floats(-400, 400), min_size=1))
def test_round_trip_is_onnx_at_any_scale(grid: Grid, scale: float, steps: list[float]) -> None:
    grid = Grid(scale, grid.zero_point, grid.qmin, grid.qmax)
    values = (np.array(steps) * scale).astype(np.float32)
    quotient = values.astype(np.float64) / scale
    # ONNX divides in float32: a quotient within its rounding (400 · 2⁻²⁴) of a tie may fall to either side.
    clear = np.abs(quotient - np.floor(quotient) - 0.5) > 1e-4
    # One float32 product, relative rounding 2⁻²⁴.
    np.testing.assert_allclose(
        grid.round_trip(values.astype(np.float64))[clear], oracle(grid, values)[clear], rtol=1e-6, atol=0
    )


@given(grids, st.floats(2.0**-13, 2.0**13, width=32), st.lists(st.floats(-400, 400), min_size=1), st.integers(1, 5))
def test_errors_are_onnx_s_to_the_bit_wherever_they_are_cut(
    grid: Grid, scale: float, steps: list[float], chunk: int
) -> None:
    grid = Grid(scale, grid.zero_point, grid.qmin, grid.qmax)
    values = (np.array(steps) * scale).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resnest_edge.grid._CHUNK", chunk)
        found = grid.errors(values[None])
    assert found.dtype == np.float32 and found.shape == (1, len(values))
    np.testing.assert_array_equal(found[0], oracle(grid, values) - values)


@given(reals, reals, styles)
def test_zero_stays_zero_and_the_range_keeps_half_a_step(low: float, high: float, style: QdqStyle) -> None:
    low, high = min(low, high), max(low, high)
    grid = Grid.covering(low, high, style)
    assert grid.round_trip(np.zeros(1))[0] == 0.0
    inside = np.linspace(low, high, 1001)
    # 1e-9 of a step covers float64's rounding of value / scale.
    assert np.abs(grid.round_trip(inside) - inside).max() <= grid.scale * (0.5 + 1e-9)


@given(reals, reals, styles)
def test_values_outside_the_range_saturate(low: float, high: float, style: QdqStyle) -> None:
    low, high = min(low, high, 0.0), max(low, high, 0.0)
    grid = Grid.covering(low, high, style)
    beyond = grid.round_trip(np.array([-1e9, 1e9]))
    assert beyond[0] == grid.scale * (grid.qmin - grid.zero_point)
    assert beyond[1] == grid.scale * (grid.qmax - grid.zero_point)


@given(reals, reals)
def test_portable_is_symmetric_int8(low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    grid = Grid.covering(low, high, QdqStyle.PORTABLE)
    assert (grid.zero_point, grid.qmin, grid.qmax, grid.unsigned) == (0, -128, 127, False)
    assert grid.scale == max(max(abs(low), abs(high)) / 127, SMALLEST_SCALE)


@given(reals, reals)
def test_cpu_is_uint8_and_spends_every_step_on_the_range(low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    grid = Grid.covering(low, high, QdqStyle.CPU)
    assert (grid.qmin, grid.qmax, grid.unsigned) == (0, 255, True)
    assert 0 <= grid.zero_point <= 255
    assert grid.scale == max((max(high, 0.0) - min(low, 0.0)) / 255, SMALLEST_SCALE)
    if low >= 0:
        assert grid.zero_point == 0


def test_cpu_after_a_relu_has_twice_the_resolution() -> None:
    portable, cpu = (Grid.covering(0.0, 2.55, style) for style in QdqStyle)
    assert cpu.scale == pytest.approx(0.01)
    assert portable.scale / cpu.scale == pytest.approx(255 / 127)


@pytest.mark.parametrize("style", list(QdqStyle))
@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 0.0), (3.0, 3.0), (-3.0, -2.0), (1e-45, 1e-45), (-LARGEST, LARGEST), (0.0, LARGEST), (-LARGEST, 0.0)],
)
def test_degenerate_ranges_give_finite_grids(low: float, high: float, style: QdqStyle) -> None:
    grid = Grid.covering(low, high, style)
    assert math.isfinite(grid.scale)
    assert grid.scale >= SMALLEST_SCALE
    assert grid.qmin <= grid.zero_point <= grid.qmax
    assert np.isfinite(grid.round_trip(np.array([low, 0.0, high]))).all()
