"""Which interval each method keeps: exact where there is an exact answer, measured on the data where there is none."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resnest_edge.calibration.observers import HistogramObserver
from resnest_edge.calibration.ranges import METHODS, PERCENTILE, choose_range
from resnest_edge.grid import Grid
from resnest_edge.spec import QdqStyle

Array = npt.NDArray[np.float32]
STYLES = list(QdqStyle)
GENERATOR_SEEDS = range(4)


def observe(values: Array) -> HistogramObserver:
    observer = HistogramObserver("layer")
    observer.update(values)
    return observer


def heavy_tails(seed: int, *, relu: bool = False) -> Array:
    """Student's t of 2.5 degrees of freedom: most of the mass near zero, a few values a hundred times as large."""
    values = np.random.default_rng(seed).standard_t(2.5, 50_000).astype(np.float32)
    return np.maximum(values, 0) if relu else values


def error(values: Array, span: tuple[float, float], style: QdqStyle) -> float:
    """Mean squared round-trip error of the data itself, not of its histogram."""
    exact = values.astype(np.float64)
    return float(np.mean(np.square(Grid.covering(*span, style).round_trip(exact) - exact)))


@given(hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e6, 1e6, width=32)), st.sampled_from(STYLES))
def test_max_is_exact(values: Array, style: QdqStyle) -> None:
    assert choose_range(observe(values), "max", style) == (values.min(), values.max())


@pytest.mark.parametrize("seed", GENERATOR_SEEDS)
@pytest.mark.parametrize("relu", [False, True])
def test_percentile_is_numpys_within_a_bin(seed: int, relu: bool) -> None:
    values = heavy_tails(seed, relu=relu)
    observer = observe(values)
    low, high = choose_range(observer, "percentile", QdqStyle.PORTABLE)
    expected = float(np.percentile(np.abs(values), PERCENTILE, method="inverted_cdf"))
    threshold = max(-low, high)
    assert expected <= threshold <= expected + observer.width
    assert threshold < 0.7 * np.abs(values).max(), "a percentile that keeps the maximum clips nothing"
    assert low == max(-threshold, float(values.min()))


def test_percentile_of_few_values_is_the_maximum() -> None:
    values = np.array([-1.0, 0.5, 3.0], np.float32)
    assert choose_range(observe(values), "percentile", QdqStyle.CPU) == (-1.0, 3.0)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("seed", GENERATOR_SEEDS)
def test_mse_beats_max_on_heavy_tails(seed: int, relu: bool, style: QdqStyle) -> None:
    values = heavy_tails(seed, relu=relu)
    spans = {method: choose_range(observe(values), method, style) for method in ("mse", "max")}
    # The tail is worth keeping to a squared error, so the gain is small where every step counts already.
    assert error(values, spans["mse"], style) < 0.98 * error(values, spans["max"], style)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shape", ["normal", "uniform", "t", "exponential"])
def test_mse_finds_the_best_fraction_of_the_maximum(shape: str, style: QdqStyle) -> None:
    """Against a search over the data itself; a histogram of 2,048 bins or more moves the error by little."""
    generator = np.random.default_rng(0)
    draws = {
        "normal": generator.standard_normal(20_000),
        "uniform": generator.uniform(-1, 3, 20_000),
        "t": generator.standard_t(3, 20_000),
        "exponential": generator.exponential(1, 20_000),
    }
    values = draws[shape].astype(np.float32)
    low, high = float(values.min()), float(values.max())
    best = min(error(values, (low * f, high * f), style) for f in np.linspace(0.2, 1.0, 81))
    assert error(values, choose_range(observe(values), "mse", style), style) <= 1.05 * best


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_entropy_clips_an_outlier(style: QdqStyle, sign: int) -> None:
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    values[17] = sign * 200.0
    low, high = choose_range(observe(values), "entropy", style)
    assert 3 < max(-low, high) < 20
    assert choose_range(observe(values), "max", style)[sign > 0] == sign * 200.0


@pytest.mark.parametrize("style", STYLES)
def test_entropy_keeps_a_uniform_distribution_whole(style: QdqStyle) -> None:
    """Nothing there is an outlier: a clipped uniform distribution piles its tail into one bin."""
    values = np.linspace(-1, 1, 400_000, dtype=np.float32)
    low, high = choose_range(observe(values), "entropy", style)
    assert max(-low, high) > 0.97


@pytest.mark.parametrize("style", STYLES)
def test_zeros_do_not_move_entropy(style: QdqStyle) -> None:
    """ReLU's zeros are exact on every grid; counted, they would hide the rest."""
    positive = np.abs(np.random.default_rng(0).standard_normal(50_000)).astype(np.float32)
    padded = np.append(positive, np.zeros(20 * positive.size, np.float32))
    high = choose_range(observe(positive), "entropy", style)[1]
    assert high > 3
    assert choose_range(observe(padded), "entropy", style) == (0, high)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=30)
@given(
    st.sampled_from(STYLES),
    hnp.arrays(np.float32, st.integers(1, 300), elements=st.integers(-6400, 6400).map(lambda value: value / 64)),
    st.integers(-8, 20),
)
def test_ranges_lie_inside_the_data_and_scale_with_it(
    method: str, style: QdqStyle, values: Array, exponent: int
) -> None:
    low, high = choose_range(observe(values), method, style)
    least, most = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    assert least <= low <= high <= most or (low, high) == (float(values.min()), float(values.max()))
    if max(-least, most) > 1:  # far from the smallest scale, where the grid itself stops scaling
        scaled = choose_range(observe(np.ldexp(values, exponent)), method, style)
        assert scaled == (math.ldexp(low, exponent), math.ldexp(high, exponent))


DEGENERATE = {
    "zeros": np.zeros(10),
    "one value": np.array([0.7]),
    "constant": np.full(10, 3.0),
    "all negative": -np.linspace(5, 6, 100),
    "all large": np.linspace(1000, 1001, 100),
    "tiny": np.linspace(-1e-30, 1e-30, 100),
    "subnormal": np.array([1e-45, -1e-45]),
    "huge": np.array([-3.4e38, 0.0, 3.4e38]),
    "tiny and huge": np.array([1e-38, 3e38]),
    "two spikes": np.repeat([0.001, 100.0], [10_000, 1]),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_data_gives_a_finite_grid(name: str, method: str, style: QdqStyle) -> None:
    values = DEGENERATE[name].astype(np.float32)
    low, high = choose_range(observe(values), method, style)
    assert math.isfinite(low)
    assert math.isfinite(high)
    assert low <= high
    grid = Grid.covering(low, high, style)
    assert math.isfinite(grid.scale)
    assert grid.scale > 0
    assert np.isfinite(grid.round_trip(values.astype(np.float64))).all()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["one value", "constant", "all negative", "all large"])
def test_a_narrow_cluster_is_not_clipped_away(name: str, method: str, style: QdqStyle) -> None:
    """However far from zero, the cluster stays representable: two steps of the full range's grid."""
    values = DEGENERATE[name].astype(np.float32)
    kept = Grid.covering(*choose_range(observe(values), method, style), style).round_trip(values.astype(np.float64))
    assert np.abs(kept - values).max() < 2 * np.abs(values).max() / 127
