"""The histogram: exact counts, whatever the batches and their order, in constant memory. The oracle is np.histogram."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resnest_edge.calibration.observers import BINS, HistogramObserver, thinned
from resnest_edge.errors import GraphError

Array = npt.NDArray[np.float32]
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)

arrays = hnp.arrays(
    np.float32,
    hnp.array_shapes(max_dims=3, max_side=6),
    elements=st.floats(-1e4, 1e4, width=32)
    | st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.25, -4096.0])
    | st.floats(allow_nan=False, allow_infinity=False, width=32),
)


def observe(*batches: Array) -> HistogramObserver:
    observer = HistogramObserver("layer")
    for batch in batches:
        observer.update(batch)
    return observer


def oracle(values: npt.NDArray[np.float64], width: float) -> npt.NDArray[np.int64]:
    """Counts over [−BINS·w, BINS·w) by searching the edges, all data at once; np.histogram closes its last bin."""
    edges = (np.arange(2 * BINS + 1) - BINS) * width
    counts: npt.NDArray[np.int64] = np.histogram(values, np.append(edges[:-1], np.nextafter(edges[-1], 0)))[0]
    return counts


@given(st.lists(arrays, min_size=1, max_size=4))
def test_counts_are_those_of_np_histogram_over_all_data(batches: list[Array]) -> None:
    observer = observe(*batches)
    values = np.concatenate([batch.ravel() for batch in batches]).astype(np.float64)
    np.testing.assert_array_equal(observer.counts, oracle(values, observer.width))
    assert observer.counts.sum() == len(values)
    assert (observer.minimum, observer.maximum) == (values.min(), values.max())


@given(hnp.array_shapes(min_dims=2, max_dims=4, max_side=60))
def test_a_map_is_thinned_alike_in_every_image_and_meets_all_of_it(shape: tuple[int, ...]) -> None:
    each = math.prod(shape[1:])
    places = np.broadcast_to(np.arange(each), (shape[0], each))
    kept, _ = thinned(places, places.min(1, keepdims=True), places.max(1, keepdims=True))[0]
    kept = kept.reshape(shape[0], -1)
    assert (kept == kept[0]).all()
    assert min(each, 1 << 14) <= kept.shape[1] <= 1 << 18
    for axis, at in enumerate(np.unravel_index(kept[0], shape[1:])):
        assert np.ptp(np.bincount(at, minlength=shape[1 + axis])) <= max(1, kept.shape[1] // shape[1 + axis] // 4)


@pytest.mark.parametrize("positive", [False, True])
def test_a_large_map_counts_as_all_of_it_would_and_its_tails_exactly(positive: bool) -> None:
    values = np.random.default_rng(0).standard_normal((2, 64, 112, 112)).astype(np.float32)
    values = np.abs(values) if positive else values
    values[0, 1, 2, 3], values[1, 5, 7, 11] = 7.5 if positive else -7.5, 7.75
    observer = observe(values)
    assert (observer.minimum, observer.maximum) == (values.min(), 7.75)
    whole = oracle(values.astype(np.float64).ravel(), observer.width)
    shares = np.cumsum(observer.counts) / observer.counts.sum() - np.cumsum(whole) / whole.sum()
    assert abs(observer.counts.sum() / values.size - 1) < 1e-3
    assert np.abs(shares).max() < 0.008  # Kolmogorov-Smirnov of 65,000 independent values: 0.0064 at 99 %
    tails = np.abs(observer.centres()) > 3.9  # half of the larger image's largest
    np.testing.assert_array_equal(observer.counts[tails], whole[tails])
    assert observer.counts.min() >= 0


def test_counts_of_real_shapes() -> None:
    generator = np.random.default_rng(0)
    batches = [generator.standard_normal((4, 16, 14, 14)).astype(np.float32) * 2.0**k for k in (-3, 2, 0, 5)]
    observer = observe(*batches)
    values = np.concatenate([batch.ravel() for batch in batches]).astype(np.float64)
    np.testing.assert_array_equal(observer.counts, oracle(values, observer.width))


@given(st.lists(arrays, min_size=2, max_size=5), st.randoms())
def test_the_order_of_the_batches_does_not_matter(batches: list[Array], random: object) -> None:
    shuffled = batches.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = observe(*batches), observe(*shuffled)
    np.testing.assert_array_equal(first.counts, second.counts)
    assert (first.minimum, first.maximum, first.width) == (second.minimum, second.maximum, second.width)


@given(arrays, st.integers(1, 5))
def test_how_the_data_is_cut_does_not_matter(values: Array, parts: int) -> None:
    whole = observe(values)
    pieces = observe(*[piece for piece in np.array_split(values.ravel(), parts) if piece.size])
    np.testing.assert_array_equal(whole.counts, pieces.counts)
    assert whole.width == pieces.width


@given(st.lists(arrays, max_size=3), st.lists(arrays, max_size=3))
def test_merging_is_seeing_the_other_s_batches_too(mine: list[Array], others: list[Array]) -> None:
    whole, merged, other = observe(*mine, *others), observe(*mine), observe(*others)
    before = other.counts.copy()
    merged.merge(other)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    assert (merged.minimum, merged.maximum, merged.exponent) == (whole.minimum, whole.maximum, whole.exponent)
    np.testing.assert_array_equal(other.counts, before)


def test_values_beyond_one_chunk_are_counted_once_whatever_grows_the_range() -> None:
    """Counted a chunk at a time, of odd length, each wider than the one before."""
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.standard_normal(99_991) * 4.0**k for k in range(-3, 3)]).astype(np.float32)
    values[::3] = np.maximum(values[::3], 0)
    observer = observe(values)
    np.testing.assert_array_equal(observer.counts, oracle(values.astype(np.float64), observer.width))


@pytest.mark.parametrize("magnitude", [2.0**k for k in range(-20, 21, 5)])
def test_growing_the_range_is_exact(magnitude: float) -> None:
    """The same small values, seen before and after the value that widens the range."""
    values = (np.random.default_rng(0).standard_normal(1000) * 0.01).astype(np.float32)
    wide = np.array([magnitude], np.float32)
    np.testing.assert_array_equal(observe(values, wide).counts, observe(wide, values).counts)


@pytest.mark.parametrize("exponent", [-100, -14, 0, 1, 16, 100])
def test_the_range_is_the_next_power_of_two(exponent: int) -> None:
    """2ᵏ does not fit [−2ᵏ, 2ᵏ), the number before it does; so a bin is 1/4096 to 1/2048 of the largest value."""
    edge = 2.0**exponent
    assert observe(np.array([np.nextafter(np.float32(edge), np.float32(0))])).width == edge / BINS
    assert observe(np.array([edge], np.float32)).width == 2 * edge / BINS
    assert observe(np.array([-edge], np.float32)).width == 2 * edge / BINS


@pytest.mark.parametrize(
    "values",
    [[0.0], [-0.0, 0.0], [SMALLEST], [-SMALLEST], [LARGEST], [-LARGEST], [LARGEST, -SMALLEST], [1e-38, -1e-38], [-5.0]],
    ids=str,
)
@pytest.mark.parametrize("first", [[], [0.0], [1e-30], [1e30]], ids=str)
def test_degenerate_values_are_counted(first: list[float], values: list[float]) -> None:
    batches = [np.array(batch, np.float32) for batch in (first, values) if batch]
    observer = observe(*batches)
    everything = np.concatenate(batches).astype(np.float64)
    np.testing.assert_array_equal(observer.counts, oracle(everything, observer.width))
    assert math.isfinite(observer.width)
    assert np.isfinite(observer.centres()).all()


def test_zeros_first_do_not_coarsen_what_follows() -> None:
    """A layer that is dead on the first pictures."""
    zeros, small = np.zeros(5, np.float32), np.array([1e-3, -1e-30], np.float32)
    assert observe(zeros, small).width == observe(small, zeros).width == observe(small).width
    assert observe(zeros).width < 1e-38


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_an_error_that_names_the_tensor(value: float) -> None:
    observer = observe(np.ones(4, np.float32))
    before = observer.counts.copy()
    batch = np.zeros((2, 3), np.float32)
    batch[1, 1] = value
    with pytest.raises(GraphError, match=r"layer: the network produces values that are not finite"):
        observer.update(batch)
    np.testing.assert_array_equal(observer.counts, before)
    assert (observer.minimum, observer.maximum) == (1.0, 1.0)


def test_distinct_batches_are_all_counted() -> None:
    """Not the last one N times: the complaint about other calibrators."""
    observer = observe(*[np.full((1, 8), value, np.float32) for value in (0.1, 0.3, 0.5, 0.7, 0.9)])
    assert np.flatnonzero(observer.counts).size == 5
    assert set(observer.counts[observer.counts > 0]) == {8}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_float_type_counts_alike(dtype: type[Any]) -> None:
    """Bins are counted in a type that holds every position exactly: FP16 has no 4,095.5."""
    values = (np.arange(-2048, 2048) / 2048).astype(np.float16)
    np.testing.assert_array_equal(observe(values.astype(dtype)).counts, observe(values.astype(np.float32)).counts)


def test_the_batch_is_left_as_it_was() -> None:
    values = np.linspace(-1, 1, 100, dtype=np.float32)
    observe(values)
    np.testing.assert_array_equal(values, np.linspace(-1, 1, 100, dtype=np.float32))


def test_centres_are_the_middles_and_zero_is_zero() -> None:
    observer = observe(np.array([0.9], np.float32))
    centres = observer.centres()
    assert observer.width == 1 / BINS
    assert centres[BINS] == 0.0
    assert centres[BINS - 1] == -0.5 / BINS
    assert centres[BINS + 1] == 1.5 / BINS
    assert centres[0] == -1 + 0.5 / BINS
    assert centres[-1] == 1 - 0.5 / BINS


def test_memory_does_not_grow_with_the_batches() -> None:
    values = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    observer = observe(values)
    tracemalloc.start()
    try:
        for scale in range(1, 40):
            observer.update(values * np.float32(scale))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 3 * observer.counts.nbytes  # the counts themselves, made anew when the range grew
