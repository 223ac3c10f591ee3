"""A histogram that is filled batch by batch in constant memory and does not depend on the order of the batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.errors import GraphError

BINS = 4096
"""Bins on each side of zero."""
_SMALLEST = -126
"""Exponent of the smallest range: below float32's normal numbers nothing is told apart."""
_COUNTED = 1 << 15  # values of one image that are all counted; the bulk of a larger map is thinned to about as many
_CHUNK = 1 << 17  # values counted at a time: their positions stay in a core's second-level cache
# Neighbours count in two tables, as most are ReLU's zeros, and adding to one place again waits for the last time.
_OFFSETS = np.tile(np.array([BINS, 3 * BINS], np.float32), _CHUNK // 2)


class HistogramObserver:
    """Counts values in ``2·BINS`` equal bins over [−2ᵏ, 2ᵏ).

    k grows to hold the largest magnitude seen; growing merges neighbouring bins in pairs, which is exact because the
    bins of 2ᵏ⁺¹ are unions of the bins of 2ᵏ. So the counts after N batches are those of one pass over all of them,
    in any order.

    Attributes:
        minimum, maximum: smallest and largest value seen, of all of them.
        counts: int64 (2·BINS), of the values that :func:`thinned` leaves; bin i covers [(i − BINS)·w, (i − BINS + 1)·w)
            with w = :attr:`width`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.minimum = math.inf
        self.maximum = -math.inf
        self.counts: npt.NDArray[np.int64] = np.zeros(2 * BINS, np.int64)
        self._exponent: int | None = None

    @property
    def exponent(self) -> int | None:
        """K of the range [−2ᵏ, 2ᵏ); None until something is seen."""
        return self._exponent

    @property
    def width(self) -> float:
        """Width of one bin."""
        return math.ldexp(1.0, self._exponent or 0) / BINS

    def update(self, values: npt.NDArray[Any]) -> None:
        """See one batch of values, of any shape, images first; count those that :func:`thinned` leaves.

        Raises:
            GraphError: a value is not finite.
        """
        if values.size == 0:
            return
        images = values.reshape(len(values), -1) if values.ndim > 1 else values.reshape(-1, 1)
        lows, highs = images.min(1, keepdims=True), images.max(1, keepdims=True)
        self._reach(float(lows.min()), float(highs.max()))
        for counted, weight in thinned(images, lows, highs):
            for start in range(0, counted.size, _CHUNK):
                self._count(counted[start : start + _CHUNK], weight)

    def merge(self, other: HistogramObserver) -> None:
        """Add what another observer of the same tensor counted: as if this one had seen those batches too."""
        if other._exponent is None:
            return
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self._grow(other._exponent)
        same = HistogramObserver(self.name)
        same.counts, same._exponent = other.counts, other._exponent
        same._grow(self._exponent or 0)
        self.counts = self.counts + same.counts

    @classmethod
    def restore(
        cls, name: str, minimum: float, maximum: float, exponent: int | None, counts: npt.NDArray[np.int64]
    ) -> HistogramObserver:
        """The observer that had these attributes; ``exponent`` is k, or None if it saw nothing.

        Raises:
            ValueError: it cannot have had them.
        """
        if counts.shape != (2 * BINS,) or counts.dtype != np.int64 or (counts < 0).any():
            raise ValueError(f"{name}: these are not the counts of a histogram")
        if (exponent is None) != (minimum > maximum) or (exponent is None) != (int(counts.sum()) == 0):
            raise ValueError(f"{name}: the range and the counts do not belong together")
        observer = cls(name)
        observer.minimum, observer.maximum, observer.counts = minimum, maximum, counts
        observer._exponent = exponent
        return observer

    def centres(self) -> npt.NDArray[np.float64]:
        """Middle of each bin; the bin that starts at zero counts as exactly zero, as ReLU's zeros fall there."""
        centres: npt.NDArray[np.float64] = (np.arange(2 * BINS, dtype=np.float64) - BINS + 0.5) * self.width
        centres[BINS] = 0.0
        return centres

    def _reach(self, low: float, high: float) -> None:
        """Widen what was seen, and the range of the bins, by the extremes of a batch."""
        if not (math.isfinite(low) and math.isfinite(high)):
            raise GraphError(
                "the network produces values that are not finite here",
                where=self.name,
                hint="Check the weights and the preprocessing: FP32 itself overflows on these images.",
            )
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self._cover(max(-low, high))

    def _count(self, values: npt.NDArray[Any], weight: int) -> None:
        scale = 1.0 / self.width
        # A power of two, so that positions are exact in float32 too, unless one could overflow or underflow there.
        exact = values.dtype == np.float32 and 1.0 <= scale <= 2.0**127
        positions = np.multiply(values, scale, dtype=np.float32 if exact else np.float64)
        np.floor(positions, out=positions)
        positions += _OFFSETS[: positions.size]
        found = np.bincount(positions.astype(np.int32), minlength=4 * BINS) * weight
        self.counts += found[: 2 * BINS]
        self.counts += found[2 * BINS :]

    def _cover(self, magnitude: float) -> None:
        """Grow the range until it holds ``magnitude`` strictly."""
        self._grow(max(math.frexp(magnitude)[1] if magnitude > 0 else _SMALLEST, _SMALLEST))

    def _grow(self, exponent: int) -> None:
        """Grow the range to [−2ᵏ, 2ᵏ) with k = ``exponent``, unless it is wider already."""
        if self._exponent is None:
            self._exponent = exponent
        while self._exponent < exponent:
            pairs = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.zeros_like(self.counts)
            self.counts[BINS // 2 : BINS + BINS // 2] = pairs
            self._exponent += 1


def thinned(
    images: npt.NDArray[Any], lows: npt.NDArray[Any], highs: npt.NDArray[Any]
) -> list[tuple[npt.NDArray[Any], int]]:
    """What is counted of a batch, flat, and how often each value counts.

    An image of no more than 32,768 values is counted as it is. Of a larger map every value beyond half of the image's
    largest magnitude is, as few decide where a range ends, and of the others every k-th, k times: a large map repeats
    itself. k shares no factor with the size of the map, so that rows, columns and channels are all met alike. Nothing
    else decides: neither the batch nor its order.

    Args:
        images: (N, values of an image).
        lows: (N, 1), each image's least value.
        highs: (N, 1), each image's largest.
    """
    size = images.shape[1]
    wanted = max(1, size // _COUNTED)
    step = min((step for step in range(1, 2 * wanted + 1) if math.gcd(step, size) == 1), key=lambda k: abs(k - wanted))
    if step == 1:
        return [(images.ravel(), 1)]
    far = np.maximum(highs, -lows) / 2
    sample = np.ascontiguousarray(images[:, ::step])
    return [(sample.ravel(), step), (_beyond(sample, lows, far), -step), (_beyond(images, lows, far), 1)]


def _beyond(images: npt.NDArray[Any], lows: npt.NDArray[Any], far: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values whose magnitude is more than ``far``, flat."""
    mask = images > far
    if (lows < -far).any():
        mask |= images < -far
    return images.ravel()[np.flatnonzero(mask)]
