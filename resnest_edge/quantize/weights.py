"""Weights to INT8: symmetric, one scale per output channel, values that the activation's arithmetic cannot overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.grid import SMALLEST_SCALE

_Float = npt.NDArray[np.float64]


def quantize_weight(
    weight: npt.NDArray[Any], axis: int, *, limit: int, scale_dtype: np.dtype[Any]
) -> tuple[npt.NDArray[np.int8], npt.NDArray[Any]]:
    """Quantize a weight tensor per channel.

    ``scale_c = max|w_c| / limit``, rounded up to ``scale_dtype`` so that no weight saturates, then
    ``q = round_half_even(w / scale)``. An all-zero channel keeps the smallest scale and stays zero.

    Args:
        weight: float, any shape.
        axis: output-channel axis.
        limit: largest magnitude of an integer: 127, or 64 for 7-bit weights.
        scale_dtype: number format of the typed graph.

    Returns:
        int8 values of the weight's shape, and the scales (channels) in ``scale_dtype``.
    """
    values = np.moveaxis(weight.astype(np.float64), axis, 0)
    largest = np.abs(values.reshape(len(values), -1)).max(1)
    scales = round_up(np.maximum(largest / limit, SMALLEST_SCALE), scale_dtype)
    steps = scales.astype(np.float64).reshape(-1, *([1] * (values.ndim - 1)))
    integers = np.clip(np.rint(values / steps), -limit, limit).astype(np.int8)
    return np.ascontiguousarray(np.moveaxis(integers, 0, axis)), scales


def round_up(values: _Float, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The smallest numbers of ``dtype`` (float32, float16, bfloat16) not below ``values``, all positive; inf beyond."""
    with np.errstate(over="ignore"):
        rounded = values.astype(dtype)
    raised = (rounded.view(_UNSIGNED[dtype.itemsize]) + 1).view(dtype)
    return np.where(rounded.astype(np.float64) < values, raised, rounded)


# The next number of an IEEE-like format above a positive one is the next bit pattern.
_UNSIGNED: dict[int, type[np.unsignedinteger[Any]]] = {2: np.uint16, 4: np.uint32}
