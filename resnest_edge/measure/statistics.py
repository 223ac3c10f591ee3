"""Intervals and distances between two models' answers, in NumPy and the standard library.

Proportions are percentages and differences are percentage points. Every interval is a score interval: it inverts a
test, so it stays honest at 0 %, at 100 % and when no image was answered differently.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from resnest_edge.errors import UsageError

Bounds = tuple[float, float]
"""Lower and upper bound of an interval."""

Z95 = NormalDist().inv_cdf(0.975)
"""Normal quantile of a two-sided 95 % interval."""

LEAST_FOR_MEDIAN = 6
"""Values from which on a median has a 95 % interval."""

_BISECTIONS = 60  # halves an interval of length 2 to below one unit in the last place


def wilson(successes: int, trials: int, z: float = Z95) -> Bounds:
    """Score interval of a proportion, in percent (Wilson, 1927).

    Args:
        successes: 0 to ``trials``.
        trials: at least 1.
        z: normal quantile; the default gives 95 %.
    """
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    low, high = (centre - spread) / scale, (centre + spread) / scale
    # At 0 and at all successes the bound is the proportion itself; rounding must not put it a hair beyond.
    return 100 * max(0.0, min(low, share)), 100 * min(1.0, max(high, share))


def paired_drop(lost: int, gained: int, images: int, z: float = Z95) -> Bounds:
    """Score interval of a paired accuracy drop, in percentage points.

    Tango (1998), "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17:891-908. The bounds are the two drops δ whose score statistic equals ±z; see
    :func:`paired_score`.

    Args:
        lost: images that only the reference got right.
        gained: images that only the candidate got right; ``(lost - gained) / images`` is the drop itself.
        images: all images, at least 1 and at least ``lost + gained``.
        z: normal quantile; the default gives 95 %.
    """
    drop = (lost - gained) / images
    low = -1.0 if paired_score(lost, gained, images, -1.0) <= z else _crossing(lost, gained, images, z, -1.0, drop)
    high = 1.0 if paired_score(lost, gained, images, 1.0) >= -z else _crossing(lost, gained, images, -z, drop, 1.0)
    return 100 * low, 100 * high


def paired_score(lost: int, gained: int, images: int, delta: float) -> float:
    """Tango's statistic: how many standard deviations the observed drop lies above the drop ``delta``.

    With b lost and c gained of n images, the chance q of a gain that is most likely under p(loss) - p(gain) = δ is
    the larger root of ``2n·q² + ((2n - b + c)·δ - b - c)·q - c·δ·(1 - δ) = 0``, and the statistic is
    ``(b - c - n·δ) / sqrt(n·(2q + δ - δ²))``. It falls as δ grows.
    """
    linear = (2 * images - lost + gained) * delta - lost - gained
    constant = -gained * delta * (1 - delta)
    root = math.sqrt(max(linear * linear - 8 * images * constant, 0.0))
    chance = (root - linear) / (4 * images)
    variance = images * (2 * chance + delta * (1 - delta))
    distance = lost - gained - images * delta
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _crossing(lost: int, gained: int, images: int, level: float, low: float, high: float) -> float:
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if paired_score(lost, gained, images, middle) > level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def sqnr_db(reference: npt.NDArray[np.float32], candidate: npt.NDArray[np.float32]) -> float:
    """Signal to noise of the candidate's logits, ``10·log10(Σ ref² / Σ (ref - x)²)`` over all images, in dB.

    Returns:
        ``inf`` when the two are equal; ``-inf`` when only the reference is zero throughout.
    """
    exact = reference.astype(np.float64)
    noise = float(np.sum((exact - candidate) ** 2))
    signal = float(np.sum(exact**2))
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def paired_sqnr_gain(
    reference: npt.NDArray[np.float32],
    ours: npt.NDArray[np.float32],
    theirs: npt.NDArray[np.float32],
    resamples: int = 2000,
) -> tuple[float, Bounds]:
    """By how many decibels ``ours`` is nearer to the reference than ``theirs``, with its 95 % interval.

    The images are paired: a percentile bootstrap (Efron and Tibshirani, 1993, chapter 13) over images of
    ``10·log10(Σ‖ref − theirs‖² / Σ‖ref − ours‖²)``, seeded, so that it is the same each time.

    Args:
        reference: (N, K) logits.
        ours: (N, K), of the same images.
        theirs: likewise.
        resamples: bootstrap samples.
    """
    wide = reference.astype(np.float64)
    energies = np.stack([np.square(wide - logits).sum(1) for logits in (theirs, ours)])
    generator = np.random.default_rng(0)
    chosen = generator.integers(0, len(reference), (resamples, len(reference)))
    sums = np.stack([energy[chosen].sum(1) for energy in energies])
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.percentile(10 * np.log10(sums[0] / sums[1]), [2.5, 97.5])
        gain = 10 * np.log10(energies[0].sum() / energies[1].sum())
    return float(gain), (float(low), float(high))


def paired_kl_gain(
    reference: npt.NDArray[np.float32],
    ours: npt.NDArray[np.float32],
    theirs: npt.NDArray[np.float32],
    resamples: int = 2000,
) -> tuple[float, Bounds]:
    """By how many nats the mean KL divergence of ``theirs`` exceeds that of ``ours``, with its 95 % interval.

    The images are paired and resampled as in :func:`paired_sqnr_gain`, whose arguments these are.
    """
    excess = _divergences(reference, theirs) - _divergences(reference, ours)
    chosen = np.random.default_rng(0).integers(0, len(excess), (resamples, len(excess)))
    low, high = np.percentile(excess[chosen].mean(1), [2.5, 97.5])
    return float(excess.mean()), (float(low), float(high))


def bootstrap_ratio(counts: Sequence[float], seconds: Sequence[float], resamples: int = 2000) -> Bounds | None:
    """95 % interval of ``Σ counts / Σ seconds`` over rounds of measuring, such as images per second.

    A percentile bootstrap (Efron and Tibshirani, 1993, chapter 13) over whole rounds, seeded, so that it is the same
    each time: what varies from round to round is the machine, and inferences within a round share its state.

    Args:
        counts: what each round counted.
        seconds: how long each round took.
        resamples: bootstrap samples.

    Returns:
        None for fewer than two rounds: one says nothing of the spread.
    """
    if len(counts) < 2:
        return None
    rounds = np.stack([np.asarray(counts, np.float64), np.asarray(seconds, np.float64)])
    chosen = np.random.default_rng(0).integers(0, len(counts), (resamples, len(counts)))
    counted, lasted = (values[chosen].sum(1) for values in rounds)
    low, high = np.percentile(counted / lasted, [2.5, 97.5])
    return float(low), float(high)


def median_interval(values: Sequence[float]) -> tuple[float, Bounds]:
    """A median and its distribution-free interval of at least 95 %, the narrowest pair of order statistics.

    The number of values below the true median is binomial(n, 1/2), so ``[x(k), x(n+1-k)]`` misses it with probability
    ``2·P(B < k)`` (Conover, Practical Nonparametric Statistics, 1999, section 3.2). No single value, however far off,
    moves it by more than one place.

    Args:
        values: at least 6: fewer reach no 95 %.

    Raises:
        UsageError: fewer.
    """
    count = len(values)
    if count < LEAST_FOR_MEDIAN:
        raise UsageError(f"{count} rounds give no 95 % interval", hint=f"Use at least {LEAST_FOR_MEDIAN}.")
    ordered = sorted(values)
    rank, below = 0, 1 / 2**count  # the chance that at most ``rank`` values lie below the median
    while 2 * below <= 0.05:
        rank += 1
        below += math.comb(count, rank) / 2**count
    return float(np.median(ordered)), (ordered[rank - 1], ordered[count - rank])


def mean_kl(reference: npt.NDArray[np.float32], candidate: npt.NDArray[np.float32]) -> float:
    """Mean over images of ``KL(softmax(ref) ‖ softmax(x))``, in nats.

    Taken from the logits in double precision, because a probability that underflowed to 0 would make it infinite.
    """
    return max(0.0, float(np.mean(_divergences(reference, candidate))))  # rounding may leave -1e-17 for equal logits


def _divergences(reference: npt.NDArray[np.float32], candidate: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    expected, answered = _log_softmax(reference), _log_softmax(candidate)
    divergences: npt.NDArray[np.float64] = np.sum(np.exp(expected) * (expected - answered), axis=1)
    return divergences


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def correct_within(
    logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], places: int
) -> npt.NDArray[np.bool_]:
    """Whether each image's label is among the ``places`` largest logits; equal logits rank by class index.

    Args:
        logits: (N, K).
        labels: (N,), each in [0, K).
        places: 1 for top-1, 5 for top-5.
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(logits.shape[1])[None, :] < labels[:, None]
    ahead = (logits > own) | ((logits == own) & earlier)
    result: npt.NDArray[np.bool_] = ahead.sum(axis=1) < places
    return result
