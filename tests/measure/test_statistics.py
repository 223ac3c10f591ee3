from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resnest_edge.measure.statistics import (
    Z95,
    correct_within,
    mean_kl,
    paired_drop,
    paired_kl_gain,
    paired_score,
    paired_sqnr_gain,
    sqnr_db,
    wilson,
)

counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, int, int]:
    """(lost, gained, images)."""
    images = draw(st.integers(1, 3000))
    lost = draw(st.integers(0, images))
    return lost, draw(st.integers(0, images - lost)), images


# ── one proportion ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # Newcombe (1998), Statistics in Medicine 17:857-872, Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_bounds(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((100 * low, 100 * high), abs=0.005)  # four printed decimals


@given(counts)
def test_wilson_contains_the_proportion_and_mirrors(count: tuple[int, int]) -> None:
    successes, trials = count
    low, high = wilson(successes, trials)
    assert 0 <= low <= 100 * (successes / trials) <= high <= 100
    assert low < high
    mirrored = wilson(trials - successes, trials)
    assert mirrored == pytest.approx((100 - high, 100 - low), abs=1e-9)


@given(counts, st.integers(2, 20))
def test_wilson_narrows_with_more_images(count: tuple[int, int], factor: int) -> None:
    few, many = wilson(*count), wilson(count[0] * factor, count[1] * factor)
    assert many[1] - many[0] < few[1] - few[0]


# ── a paired difference ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lost", "gained", "images", "low", "high", "printed"),
    [
        # Fagerland, Lydersen, Laake (2017), "Statistical Analysis of Contingency Tables", chapter 8: consolidation
        # therapy (Cavo 2012), as the tests of the authors' R package contingencytables print it
        (6, 16, 161, -0.1240, -0.0054, 4),
        # the same authors (2014): airway hyper-responsiveness (Bentur 2009)
        (1, 7, 21, -0.517, -0.026, 3),
        # R. Newcombe's worked example of Tango's interval: 12 and 2 of 50 pairs
        (12, 2, 50, 0.0611, 0.3447, 4),
    ],
)
def test_paired_drop_gives_the_published_bounds(
    lost: int, gained: int, images: int, low: float, high: float, printed: int
) -> None:
    assert paired_drop(lost, gained, images) == pytest.approx((100 * low, 100 * high), abs=100 * 0.6 * 10**-printed)


def test_paired_drop_at_another_level() -> None:
    # R: PropCIs::scoreci.mp(28, 25, 618, 0.90), whose estimand is (c - b) / n
    assert paired_drop(28, 25, 618, z=1.6448536) == pytest.approx((-1.48, 2.47), abs=0.006)


@pytest.mark.parametrize("images", [1, 10, 50, 1966, 50_000])
def test_no_discordant_image_still_leaves_doubt(images: int) -> None:
    # with b = c = 0 the score equation has the closed form |δ| = z² / (n + z²)
    expected = 100 * Z95**2 / (images + Z95**2)
    assert paired_drop(0, 0, images) == pytest.approx((-expected, expected), rel=1e-9)


def _likeliest_chance(lost: int, gained: int, images: int, delta: float) -> float:
    """The chance of a gain that maximises the likelihood under p(loss) = p(gain) + delta, by ternary search."""
    low, high = max(0.0, -delta), (1 - delta) / 2

    def log_likelihood(q: float) -> float:
        parts = [(lost, q + delta), (gained, q), (images - lost - gained, 1 - 2 * q - delta)]
        return sum(count * math.log(max(p, 1e-300)) for count, p in parts if count)

    for _ in range(200):
        third = (high - low) / 3
        if log_likelihood(low + third) < log_likelihood(high - third):
            low += third
        else:
            high -= third
    return (low + high) / 2


@pytest.mark.parametrize("table", [(0, 0, 30), (1, 0, 30), (0, 3, 30), (5, 2, 40), (30, 0, 30), (12, 11, 900)])
@pytest.mark.parametrize("side", [0, 1])
def test_paired_drop_inverts_the_score_test(table: tuple[int, int, int], side: int) -> None:
    lost, gained, images = table
    delta = paired_drop(lost, gained, images)[side] / 100
    if abs(delta) == 1.0:
        assert abs((lost - gained) / images) == 1.0
        return
    chance = _likeliest_chance(lost, gained, images, delta)
    variance = (2 * chance + delta - delta**2) / images
    score = ((lost - gained) / images - delta) / math.sqrt(variance)
    # the ternary search finds a flat maximum to about the square root of double precision
    assert score == pytest.approx(Z95 if side == 0 else -Z95, rel=1e-4)


@given(tables())
def test_paired_drop_contains_the_drop_and_swaps_sign(table: tuple[int, int, int]) -> None:
    lost, gained, images = table
    low, high = paired_drop(lost, gained, images)
    assert -100 <= low <= 100 * (lost - gained) / images + 1e-12
    assert 100 * (lost - gained) / images - 1e-12 <= high <= 100
    assert low < high
    assert paired_drop(gained, lost, images) == pytest.approx((-high, -low), abs=1e-9)


@given(tables(), st.integers(2, 20))
def test_paired_drop_narrows_with_more_images(table: tuple[int, int, int], factor: int) -> None:
    lost, gained, images = table
    few, many = paired_drop(lost, gained, images), paired_drop(lost * factor, gained * factor, images * factor)
    assert many[1] - many[0] < few[1] - few[0]


@given(tables())
def test_paired_drop_excludes_zero_exactly_when_mcnemar_does(table: tuple[int, int, int]) -> None:
    lost, gained, images = table
    statistic = abs(lost - gained) / math.sqrt(lost + gained) if lost + gained else 0.0
    low, high = paired_drop(lost, gained, images)
    assert (low > 0 or high < 0) == (statistic > Z95)


drops = st.integers(-99_999, 99_999).map(lambda number: number / 100_000)


@given(tables(), drops, drops)
def test_the_score_falls_with_the_drop_it_is_tested_against(
    table: tuple[int, int, int], first: float, second: float
) -> None:
    low, high = sorted((first, second))
    before, after = paired_score(*table, low), paired_score(*table, high)
    assert before >= after - 1e-9 * max(1.0, abs(before))


@pytest.mark.parametrize(
    ("lost", "gained"), [(0.01, 0.01), (0.02, 0.01), (0.05, 0.02), (0.10, 0.10), (0.20, 0.05), (0.005, 0.0)]
)
def test_paired_drop_covers_the_truth_about_as_often_as_it_says(lost: float, gained: float) -> None:
    """Exact coverage: the probability of every table whose interval holds the true drop."""
    images, truth = 200, 100 * (lost - gained)
    covered = total = 0.0
    for b in range(images + 1):
        for c in range(images + 1 - b):
            log_p = _log_trinomial(b, c, images, lost, gained)
            if log_p < math.log(1e-9):
                continue
            low, high = paired_drop(b, c, images)
            total += math.exp(log_p)
            covered += math.exp(log_p) * (low <= truth <= high)
    assert total == pytest.approx(1, abs=1e-4)
    # a score interval is right on average and may dip below its level by about two points in discrete samples
    assert 0.93 <= covered <= 1.0


def _log_trinomial(b: int, c: int, n: int, p: float, q: float) -> float:
    if (b and not p) or (c and not q):
        return -math.inf
    ways = math.lgamma(n + 1) - math.lgamma(b + 1) - math.lgamma(c + 1) - math.lgamma(n - b - c + 1)
    return ways + b * math.log(p or 1) + c * math.log(q or 1) + (n - b - c) * math.log(1 - p - q)


# ── distances between logits ────────────────────────────────────────────────────────────────────────────────────────

logits = hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(2, 7)), elements=st.floats(-50, 50, width=32))


def test_sqnr_of_a_tenth_is_twenty_decibels() -> None:
    reference = np.ones((3, 4), dtype=np.float32)
    assert sqnr_db(reference, np.float32(1.1) * reference) == pytest.approx(20, abs=1e-5)  # float32 rounds 1.1


def test_sqnr_is_over_all_images_together() -> None:
    reference = np.array([[10, 0], [1, 0]], dtype=np.float32)
    candidate = np.array([[10, 0], [2, 0]], dtype=np.float32)
    assert sqnr_db(reference, candidate) == pytest.approx(10 * math.log10(101))


def test_sqnr_at_its_ends() -> None:
    zeros, ones = np.zeros((2, 3), dtype=np.float32), np.ones((2, 3), dtype=np.float32)
    assert sqnr_db(ones, ones) == math.inf
    assert sqnr_db(zeros, zeros) == math.inf
    assert sqnr_db(zeros, ones) == -math.inf


@given(logits)
def test_kl_of_equal_logits_is_zero_and_ignores_an_offset(values: np.ndarray) -> None:
    assert mean_kl(values, values) == 0
    assert mean_kl(values, values + np.float32(4)) == pytest.approx(0, abs=1e-9)  # float32 rounds the sum


def test_kl_of_two_coins() -> None:
    reference, candidate = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert mean_kl(reference.astype(np.float32), candidate.astype(np.float32)) == pytest.approx(expected, rel=1e-6)


def test_kl_stays_finite_where_probabilities_underflow() -> None:
    reference = np.array([[0, 1000]], dtype=np.float32)
    assert mean_kl(reference, -reference) == pytest.approx(1000)


@given(
    hnp.arrays(np.float32, (5, 7), elements=st.integers(-2, 2).map(np.float32)),
    hnp.arrays(np.int64, 5, elements=st.integers(0, 6)),
    st.integers(1, 7),
)
def test_correct_within_agrees_with_a_stable_sort(values: np.ndarray, labels: np.ndarray, places: int) -> None:
    order = np.argsort(-values, axis=1, kind="stable")[:, :places]
    assert correct_within(values, labels, places).tolist() == (order == labels[:, None]).any(axis=1).tolist()


# ── two candidates on the same images ───────────────────────────────────────────────────────────────────────────────


def noisy(reference: np.ndarray, size: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(reference.shape)
    return (reference + size * noise).astype(np.float32)


def test_the_gain_is_the_difference_of_the_two_ratios() -> None:
    reference = np.random.default_rng(0).standard_normal((300, 10)).astype(np.float32)
    ours, theirs = noisy(reference, 0.01, 1), noisy(reference, 0.02, 2)
    gain, (low, high) = paired_sqnr_gain(reference, ours, theirs)
    assert gain == pytest.approx(sqnr_db(reference, ours) - sqnr_db(reference, theirs), abs=1e-6)
    assert 5.5 <= low < gain < high <= 6.5  # twice the noise is 6.02 dB
    assert paired_sqnr_gain(reference, ours, theirs) == (gain, (low, high)), "seeded"
    other, bounds = paired_sqnr_gain(reference, theirs, ours)
    assert other == pytest.approx(-gain) and bounds == pytest.approx((-high, -low))


def test_the_interval_of_equals_holds_zero_about_as_often_as_it_says() -> None:
    reference = np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)
    held = 0
    for seed in range(100):
        _, (low, high) = paired_sqnr_gain(
            reference, noisy(reference, 0.1, 2 * seed + 1), noisy(reference, 0.1, 2 * seed + 2), resamples=400
        )
        held += low <= 0 <= high
    assert 88 <= held <= 100  # 95 expected; a binomial of 100 is below 88 once in 500


def test_the_excess_of_divergence_is_the_difference_of_the_two_means() -> None:
    reference = np.random.default_rng(0).standard_normal((300, 10)).astype(np.float32)
    ours, theirs = noisy(reference, 0.1, 1), noisy(reference, 0.2, 2)
    excess, (low, high) = paired_kl_gain(reference, ours, theirs)
    assert excess == pytest.approx(mean_kl(reference, theirs) - mean_kl(reference, ours), abs=1e-12)
    assert 0 < low < excess < high, "twice the noise diverges more"
    other, bounds = paired_kl_gain(reference, theirs, ours)
    assert other == pytest.approx(-excess) and bounds == pytest.approx((-high, -low))
    assert paired_kl_gain(reference, ours, ours) == (0, (0, 0))


def test_the_interval_of_the_excess_is_that_of_a_mean() -> None:
    """With this many images the bootstrap's interval is the normal one of the paired differences."""
    reference = np.random.default_rng(0).standard_normal((4000, 3)).astype(np.float32)
    ours, theirs = noisy(reference, 0.1, 1), noisy(reference, 0.12, 2)
    each = [mean_kl(reference[i : i + 1], theirs[i : i + 1]) for i in range(len(reference))]
    less = [mean_kl(reference[i : i + 1], ours[i : i + 1]) for i in range(len(reference))]
    differences = np.array(each) - np.array(less)
    half = Z95 * differences.std() / len(differences) ** 0.5
    excess, bounds = paired_kl_gain(reference, ours, theirs)
    assert bounds == pytest.approx((excess - half, excess + half), abs=0.1 * half)
