"""The arrays an engine is fed while it is measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.errors import InputError
from resnest_edge.spec import GraphInfo, InputFormat

Frames = npt.NDArray[np.uint8]
"""(N, S, S, 3) uint8 RGB, values in [0, 255]."""

BATCHES = 4
"""Distinct batches that a measurement cycles through, so that one input does not sit in the cache."""


def check_fits(images: npt.NDArray[Any], info: GraphInfo) -> None:
    """Refuse an array that is not what the engine takes.

    Raises:
        InputError: not (N, S, S, 3) uint8, or (N, 3, S, S) float32, as ``info.input_format`` and its size ask.
    """
    side = info.image_size
    uint8 = info.input_format is InputFormat.UINT8_NHWC
    shape, dtype = ((side, side, 3), np.uint8) if uint8 else ((3, side, side), np.float32)
    if images.ndim != 4 or images.shape[1:] != shape or images.dtype != dtype:
        raise InputError(
            f"the engine of {info.name!r} takes (N, {', '.join(map(str, shape))}) {np.dtype(dtype)}, "
            f"not {images.shape} {images.dtype}",
            hint=f"Resize and crop the pictures to {side}×{side} first.",
        )


def engine_input(frames: Frames, info: GraphInfo) -> npt.NDArray[Any]:
    """Lay uint8 NHWC frames out as the engine takes them: as they are, or (N, 3, S, S) float32 in [0, 255].

    Raises:
        InputError: the frames are not of the engine's size.
    """
    planar = info.input_format is InputFormat.FLOAT_NCHW
    images = frames.transpose(0, 3, 1, 2).astype(np.float32) if planar else frames
    check_fits(images, info)
    return np.ascontiguousarray(images)


def random_frames(count: int, side: int, seed: int) -> Frames:
    """``count`` frames of uniform noise, the same for the same seed: (count, side, side, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def batch_ring(frames: Frames, batch: int, info: GraphInfo) -> list[npt.NDArray[Any]]:
    """A few distinct batches cut from ``frames`` in order, starting over when they run out.

    Raises:
        InputError: see :func:`engine_input`.
    """
    indices = np.arange(BATCHES * batch).reshape(BATCHES, batch) % len(frames)
    return [engine_input(frames[chosen], info) for chosen in indices]
