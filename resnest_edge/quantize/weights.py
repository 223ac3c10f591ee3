"""Weights to INT8: symmetric, one scale per output channel, values that the activation's arithmetic cannot overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.grid import SMALLEST_SCALE

_Float = npt.NDArray[np.float64]
_FRACTIONS = np.linspace(1.0, 0.5, 41)


def quantize_weight(
    weight: npt.NDArray[Any],
    axis: int,
    *,
    limit: int,
    scale_dtype: np.dtype[Any],
    method: str = "max",
) -> tuple[npt.NDArray[np.int8], npt.NDArray[Any]]:
    """Quantize a weight tensor per channel: ``q = round_half_even(w / scale)``.

    ``max``: ``scale_c = max|w_c| / limit``, rounded up to ``scale_dtype`` so that no weight saturates. ``mse``: of that
    scale and 40 smaller ones, down to half of it, the one of the least squared error, saturation included. An all-zero
    channel keeps the smallest scale and stays zero.

    Args:
        weight: float, any shape.
        axis: output-channel axis.
        limit: largest magnitude of an integer: 127, or 64 for 7-bit weights.
        scale_dtype: number format of the typed graph.
        method: one of :data:`resnest_edge.calibration.scales.WEIGHT_SCALES`.

    Returns:
        int8 values of the weight's shape, and the scales (channels) in ``scale_dtype``.
    """
    values = np.moveaxis(weight.astype(np.float64), axis, 0)
    rows = values.reshape(len(values), -1)
    scales = _scale(np.abs(rows).max(1), limit, scale_dtype)
    if method == "mse":
        scales = _least_squares(rows, scales, limit)
    integers = _integers(rows, scales, limit).astype(np.int8).reshape(values.shape)
    return np.ascontiguousarray(np.moveaxis(integers, 0, axis)), scales


def _scale(largest: _Float, limit: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return round_up(np.maximum(largest / limit, SMALLEST_SCALE), dtype)


def _integers(rows: _Float, scales: npt.NDArray[Any], limit: int) -> _Float:
    return np.clip(np.rint(rows / scales.astype(np.float64)[:, None]), -limit, limit)


def _least_squares(rows: _Float, scales: npt.NDArray[Any], limit: int) -> npt.NDArray[Any]:
    largest = scales.astype(np.float64) * limit
    best, least = scales, np.full(len(rows), np.inf)
    for fraction in _FRACTIONS:
        tried = _scale(largest * fraction, limit, scales.dtype)
        error = np.square(_integers(rows, tried, limit) * tried.astype(np.float64)[:, None] - rows).sum(1)
        best, least = np.where(error < least, tried, best), np.minimum(error, least)
    return best


def round_up(values: _Float, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The smallest numbers of ``dtype`` (float32, float16, bfloat16) not below ``values``, all positive; inf beyond."""
    with np.errstate(over="ignore"):
        rounded = values.astype(dtype)
    raised = (rounded.view(_UNSIGNED[dtype.itemsize]) + 1).view(dtype)
    return np.where(rounded.astype(np.float64) < values, raised, rounded)


# The next number of an IEEE-like format above a positive one is the next bit pattern.
_UNSIGNED: dict[int, type[np.unsignedinteger[Any]]] = {2: np.uint16, 4: np.uint32}
