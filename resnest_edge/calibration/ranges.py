"""From a histogram to the range worth keeping: ``max``, ``percentile``, ``entropy`` and ``mse``.

``percentile`` and ``entropy`` follow NVIDIA's "8-bit Inference with TensorRT" (GTC 2017, S7310); ``mse`` minimises
the squared round-trip error on the very grid that will be written.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from resnest_edge.calibration.observers import BINS, HistogramObserver
from resnest_edge.grid import Grid
from resnest_edge.spec import QdqStyle

PERCENTILE = 99.99
AUTO = "auto"
"""Not a method of one tensor: each gets the one of :data:`METHODS` whose measured error is least."""
_FRACTIONS = np.linspace(0.2, 1.0, 161)
_Counts = npt.NDArray[np.float64]


def choose_range(observer: HistogramObserver, method: str, style: QdqStyle) -> tuple[float, float]:
    """The interval (low, high) of one tensor that quantization keeps; values outside saturate.

    Args:
        observer: what was seen of the tensor.
        method: one of :data:`METHODS`.
        style: decides the grid that ``entropy`` and ``mse`` measure the loss on.
    """
    return METHODS[method](observer, style)


def _maximum(observer: HistogramObserver, _style: QdqStyle) -> tuple[float, float]:
    return observer.minimum, observer.maximum


def _percentile(observer: HistogramObserver, _style: QdqStyle) -> tuple[float, float]:
    magnitudes = _magnitudes(observer)
    reached = np.cumsum(magnitudes) >= magnitudes.sum() * (PERCENTILE / 100.0)
    return _clip(observer, (int(np.argmax(reached)) + 1) * observer.width)


def _mse(observer: HistogramObserver, style: QdqStyle) -> tuple[float, float]:
    centres, occupied = observer.centres(), observer.counts > 0
    values, counts = centres[occupied], observer.counts[occupied].astype(np.float64)
    best, best_error = _maximum(observer, style), np.inf
    for fraction in _FRACTIONS:
        low, high = observer.minimum * fraction, observer.maximum * fraction
        error = float(counts @ np.square(Grid.covering(low, high, style).round_trip(values) - values))
        if error < best_error:
            best, best_error = (low, high), error
    return best


def _entropy(observer: HistogramObserver, style: QdqStyle) -> tuple[float, float]:
    """The threshold whose quantized distribution is nearest (Kullback-Leibler) to the clipped one."""
    magnitudes = _magnitudes(observer)
    magnitudes[0] = 0.0  # ReLU's zeros cost nothing on any grid and would hide everything else
    levels = 255 if style is QdqStyle.CPU and observer.minimum >= 0 else 127
    last = int(np.flatnonzero(magnitudes)[-1]) + 1 if magnitudes.any() else 1
    if last <= levels:
        return _maximum(observer, style)
    candidates = np.unique(np.linspace(levels, last, 128).astype(int))
    losses = [_divergence(magnitudes, int(stop), levels) for stop in candidates]
    return _clip(observer, float(candidates[int(np.argmin(losses))]) * observer.width)


def _divergence(counts: _Counts, stop: int, levels: int) -> float:
    reference = counts[:stop].copy()
    reference[-1] += counts[stop:].sum()
    starts = np.arange(levels) * stop // levels
    occupied = (counts[:stop] > 0).astype(np.float64)
    sums = np.add.reduceat(counts[:stop], starts)
    widths = np.add.reduceat(occupied, starts)
    level = np.repeat(sums / np.maximum(widths, 1.0), np.diff(np.append(starts, stop)))
    quantized = level * occupied
    both = (reference > 0) & (quantized > 0)
    if not both.any():
        return np.inf
    p, q = reference / reference.sum(), quantized / quantized.sum()
    missed = float(p[(reference > 0) & (quantized <= 0)].sum())  # smoothed: mass that the grid cannot represent at all
    return float(np.sum(p[both] * np.log(p[both] / q[both])) + missed * np.log(1e9))


def _magnitudes(observer: HistogramObserver) -> _Counts:
    """Counts of |value| over BINS bins."""
    negative, positive = observer.counts[:BINS][::-1], observer.counts[BINS:]
    return (negative + positive).astype(np.float64)


def _clip(observer: HistogramObserver, threshold: float) -> tuple[float, float]:
    return max(observer.minimum, -threshold), min(observer.maximum, threshold)


METHODS: dict[str, Callable[[HistogramObserver, QdqStyle], tuple[float, float]]] = {
    "max": _maximum,
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _mse,
}
