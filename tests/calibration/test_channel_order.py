"""The order of channels by the cast of the images: a swap is told where it is certain, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.calibration.channel_order import (
    BETTER,
    CAST_ERROR,
    FITS,
    LEAST_IMAGES,
    REFUTED,
    Casts,
    deviates,
    order_signs,
    seem_swapped,
)
from resnest_edge.images import normalise
from resnest_edge.spec import Preprocessing

TRAINING = -0.2


def scattered(mean: float, swapped: float, count: int = 512, seed: int = 0) -> Casts:
    """Casts of exactly these means, with the scatter of photographs."""
    noise = np.random.default_rng(seed).normal(0, 0.55, count)
    noise -= noise.mean()
    return Casts(mean + noise, swapped - noise)


WRONG = scattered(-0.49, -0.2)


def test_a_swap_is_told_with_its_figures_and_what_to_do() -> None:
    (sign,) = order_signs(WRONG, TRAINING, 0.12, 0.10)
    assert "red and blue seem to be swapped: over 512" in sign and "by -0.49" in sign and "the -0.20 of" in sign
    assert "(0.120 to 0.100 deviations)" in sign and "--color" in sign


def test_it_is_not_told_where_the_network_sees_the_given_order_nearer() -> None:
    assert order_signs(WRONG, TRAINING, 0.10, 0.12) == []
    assert order_signs(WRONG, TRAINING, 0.1, 1.01 * BETTER * 0.1) == []


@given(
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.integers(LEAST_IMAGES, 2000),
    st.floats(-0.99, 0.99),
    st.integers(0, 9),
)
def test_an_order_within_the_bound_is_never_refuted(
    expected: float, swapped: float, count: int, share: float, seed: int
) -> None:
    casts = scattered(0.0, swapped, count, seed)
    error = float(np.hypot(casts.given.std(ddof=1) / count**0.5, CAST_ERROR))
    right = replace(casts, given=casts.given + expected + share * REFUTED * error)
    assert not seem_swapped(right, expected)


@given(st.floats(-1, 1), st.floats(0, 1), st.integers(LEAST_IMAGES, 2000))
def test_orders_that_differ_by_less_than_their_thresholds_are_never_told(
    given_cast: float, share: float, count: int
) -> None:
    casts = scattered(given_cast, 0.0, count)
    error = float(np.hypot(casts.given.std(ddof=1) / count**0.5, CAST_ERROR))
    near = replace(casts, swapped=casts.swapped + given_cast + 0.99 * share * (REFUTED - FITS) * error)
    for expected in np.linspace(given_cast - 1, given_cast + 1, 11):
        assert not seem_swapped(near, float(expected))


@given(st.floats(-60, 60))
def test_brightness_changes_nothing(by: float) -> None:
    colours, std = np.random.default_rng(0).uniform(60, 190, (64, 3)), (0.25,) * 3
    one, other = (Casts.of(each, (0.5, 0.4, 0.3), std) for each in (colours, colours + by))
    np.testing.assert_allclose(deviates(one, TRAINING), deviates(other, TRAINING), atol=1e-9)


@pytest.mark.parametrize("count", [1, 2, LEAST_IMAGES - 1])
def test_few_images_tell_nothing(count: int) -> None:
    assert not seem_swapped(Casts(np.full(count, -2.0), np.full(count, TRAINING)), TRAINING)


def test_an_other_domain_that_neither_order_fits_is_not_told() -> None:
    assert not seem_swapped(scattered(0.5, -0.9), TRAINING)


def test_right_draws_are_not_told_and_swapped_ones_are() -> None:
    drawn = np.random.default_rng(1).normal(TRAINING, 0.55, (300, 512))
    right = [Casts(one, -0.69 - one) for one in drawn]
    assert not any(seem_swapped(casts, TRAINING) for casts in right)
    assert all(seem_swapped(Casts(casts.swapped, casts.given), TRAINING) for casts in right)


def test_the_casts_are_those_of_the_normalised_pixels_in_both_orders() -> None:
    preprocessing = Preprocessing(image_size=8)
    shots = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    casts = Casts.of(shots.mean((1, 2)), preprocessing.mean, preprocessing.std)
    for found, pixels in ((casts.given, shots), (casts.swapped, np.ascontiguousarray(shots[..., ::-1]))):
        means = normalise(pixels, preprocessing).mean((2, 3), np.float64)
        np.testing.assert_allclose(found, means[:, 0] - means[:, 2], atol=1e-5)
