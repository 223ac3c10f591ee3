"""Weight rounding: the paper's own algorithm gives the same integers, its bound holds, and outputs err less by it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.quantize import rounding
from resnest_edge.quantize.rounding import Moments, Rounder, output_error
from resnest_edge.quantize.weights import quantize_weight

Float = npt.NDArray[np.float64]
seeds = st.integers(0, 2**32 - 1)


def inputs(seed: int, rows: int = 60, columns: int = 9, groups: int = 1) -> npt.NDArray[np.float32]:
    """Correlated inputs (groups, rows, columns) with a mean, as patches have."""
    generator = np.random.default_rng(seed)
    mix = generator.standard_normal((groups, columns, columns)) * generator.uniform(0.1, 3.0, columns)
    return (generator.standard_normal((groups, rows, columns)) @ mix + 1.0).astype(np.float32)


def gathered(rows: npt.NDArray[np.float32]) -> Moments:
    moments = Moments(rows.shape[0], rows.shape[2])
    moments.update(rows)
    return moments


def damped(covariance: Float) -> Float:
    return np.asarray(covariance + 0.01 * np.diagonal(covariance).mean() * np.eye(len(covariance)))


def as_published(weight: Float, covariance: Float, steps: Float, limit: int) -> npt.NDArray[np.int64]:
    """Algorithm 1 of GPTQ (arXiv 2210.17323) without blocks: errors go through the inverse's Cholesky factor."""
    order = np.argsort(-np.diagonal(covariance), kind="stable")
    ordered = damped(covariance)[np.ix_(order, order)]
    upper = np.linalg.cholesky(np.linalg.inv(ordered)).T
    left, integers = weight[:, order].copy(), np.empty(weight.shape, np.int64)
    for column in range(weight.shape[1]):
        rounded = np.clip(np.rint(left[:, column] / steps), -limit, limit)
        error = (left[:, column] - rounded * steps) / upper[column, column]
        left[:, column:] -= error[:, None] * upper[column, column:]
        integers[:, order[column]] = rounded
    return integers


@given(seeds, st.sampled_from([64, 127]), st.booleans())
def test_it_is_the_published_algorithm(seed: int, limit: int, centred: bool) -> None:
    weight = np.random.default_rng(seed).standard_normal((4, 9))
    nearest, scales = quantize_weight(weight, 0, limit=limit, scale_dtype=np.dtype(np.float32))
    steps, moments = scales.astype(np.float64), gathered(inputs(seed))
    deltas = Rounder(moments, centred=centred).deltas(weight[None], nearest[None], steps[None], limit=limit)
    covariance = moments.covariance(0, centred=centred)[0]
    expected = as_published(weight, covariance, steps, limit)
    np.testing.assert_array_equal(nearest + deltas[0].astype(int), expected)


@given(seeds, st.integers(2, 12))
def test_blocks_change_nothing(seed: int, block: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((1, 3, 20))
    nearest, scales = quantize_weight(weight[0], 0, limit=127, scale_dtype=np.dtype(np.float32))
    moments = gathered(inputs(seed, columns=20))
    found = []
    for size in (20, block):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rounding, "_BLOCK", size)
            steps = scales.astype(np.float64)[None]
            found.append(Rounder(moments, centred=True).deltas(weight, nearest[None], steps, limit=127))
    np.testing.assert_array_equal(found[0], found[1])


@given(seeds)
def test_the_error_is_within_the_papers_bound(seed: int) -> None:
    """Theorem 1 of QuIP: Σ D_k η_k² with |η_k| ≤ ½ step, where nothing saturates."""
    weight = np.random.default_rng(seed).standard_normal((1, 4, 9))
    steps = np.full((1, 4), 0.1)
    nearest = np.rint(weight / 0.1).astype(np.int8)
    moments = gathered(inputs(seed))
    integers = nearest + Rounder(moments, centred=True).deltas(weight, nearest, steps, limit=127)
    covariance = moments.covariance(0, centred=True)
    order = np.argsort(-np.diagonal(covariance[0]), kind="stable")
    backwards = damped(covariance[0])[np.ix_(order, order)][::-1, ::-1]
    variances = np.square(np.diagonal(np.linalg.cholesky(backwards)))
    assert np.abs(integers).max() < 127
    assert (output_error(weight, integers, steps, covariance) <= variances.sum() * 0.1**2 / 4 * (1 + 1e-9)).all()


def test_it_errs_less_than_the_nearest_integers() -> None:
    nearest_total, rounded_total = 0.0, 0.0
    for seed in range(20):
        weight = np.random.default_rng(seed).standard_normal((1, 8, 24))
        nearest, scales = quantize_weight(weight[0], 0, limit=64, scale_dtype=np.dtype(np.float32))
        steps, moments = scales.astype(np.float64)[None], gathered(inputs(seed, 400, 24))
        covariance = moments.covariance(0, centred=True)
        deltas = Rounder(moments, centred=True).deltas(weight, nearest[None], steps, limit=64)
        nearest_total += output_error(weight, nearest[None], steps, covariance).sum()
        rounded_total += output_error(weight, nearest[None] + deltas, steps, covariance).sum()
    assert rounded_total < 0.5 * nearest_total


@given(seeds)
def test_independent_inputs_of_one_variance_leave_the_nearest_integers(seed: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((1, 3, 8))
    nearest, scales = quantize_weight(weight[0], 0, limit=127, scale_dtype=np.dtype(np.float32))
    moments = gathered(np.concatenate([np.eye(8), -np.eye(8)]).astype(np.float32)[None])
    steps = scales.astype(np.float64)[None]
    assert not Rounder(moments, centred=True).deltas(weight, nearest[None], steps, limit=127).any()


@pytest.mark.parametrize("rows", [np.zeros((1, 5, 6)), np.full((1, 5, 6), 3.0), np.zeros((1, 0, 6))])
def test_inputs_that_say_nothing_leave_the_nearest_integers(rows: npt.NDArray[np.float64]) -> None:
    weight = np.random.default_rng(0).standard_normal((1, 3, 6))
    nearest, scales = quantize_weight(weight[0], 0, limit=127, scale_dtype=np.dtype(np.float32))
    moments = Moments(1, 6)
    if rows.size:
        moments.update(rows.astype(np.float32))
    steps = scales.astype(np.float64)[None]
    assert not Rounder(moments, centred=True).deltas(weight, nearest[None], steps, limit=127).any()


@given(seeds, st.integers(1, 59), st.sampled_from([1, 3]))
def test_moments_are_numpys_however_rows_are_cut(seed: int, cut: int, groups: int) -> None:
    rows = inputs(seed, groups=groups)
    moments = Moments(groups, 9)
    moments.update(rows[:, :cut])
    moments.update(rows[:, cut:])
    for group in range(groups):
        wide = rows[group].astype(np.float64)
        scale = np.square(wide).mean()
        expected = np.cov(wide.T, bias=True)
        np.testing.assert_allclose(moments.covariance(0, centred=True)[group], expected, atol=1e-4 * scale)
        second = wide.T @ wide / len(wide)
        np.testing.assert_allclose(moments.covariance(0, centred=False)[group], second, atol=1e-4 * scale)


def test_a_mean_far_from_zero_leaves_the_covariance_exact() -> None:
    """In float32, sums of squares around 10⁸ would lose a variance of one."""
    noise = np.random.default_rng(0).standard_normal((1, 500, 4)).astype(np.float32)
    found = gathered(noise + np.float32(10000.0)).covariance(0, centred=True)[0]
    np.testing.assert_allclose(found, np.cov(noise[0].T, bias=True), atol=0.01)


def test_wide_matrices_are_kept_in_diagonal_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "WIDEST", 8)
    rows = inputs(0, 200, 20)
    moments = gathered(rows)
    assert [block.stop - block.start for block in moments.blocks] == [8, 8, 4]
    held = sum(4 * moments.covariance(index, centred=True).size for index in range(3))
    assert held == 4 * (64 + 64 + 16)
    assert Moments.size(1, 20) == held + 4 * rounding._ROWS * 20
    weight = np.random.default_rng(0).standard_normal((1, 5, 20))
    nearest, scales = quantize_weight(weight[0], 0, limit=127, scale_dtype=np.dtype(np.float32))
    steps = scales.astype(np.float64)[None]
    deltas = Rounder(moments, centred=True).deltas(weight, nearest[None], steps, limit=127)
    for block in moments.blocks:
        part = gathered(np.ascontiguousarray(rows[:, :, block]))
        alone = Rounder(part, centred=True).deltas(weight[:, :, block], nearest[None, :, block], steps, limit=127)
        np.testing.assert_array_equal(deltas[:, :, block], alone)
