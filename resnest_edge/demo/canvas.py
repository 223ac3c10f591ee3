"""Drawing in plain arithmetic, so that a scene has the same pixels on every machine.

Only IEEE ``+ − × ÷`` and ``floor`` on float64, element by element, and a generator's ``random``: no sine, no
exponential, no matrix product, no resampling library, whose last bits depend on the machine. Images are
(SIDE, SIDE, 3) float64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIDE = 112

Plane = npt.NDArray[np.float64]
"""(SIDE, SIDE) float64."""

Y, X = (axis.astype(np.float64) for axis in np.mgrid[0:SIDE, 0:SIDE])


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A uniform number."""
    return low + (high - low) * rng.random()


def smooth_noise(rng: np.random.Generator, cells: int) -> Plane:
    """A random surface in [0, 1]: ``cells``² random heights, interpolated bilinearly."""
    grid = rng.random((cells + 1, cells + 1))
    position = np.arange(SIDE, dtype=np.float64) * (cells / SIDE)
    cell = position.astype(np.int64)
    across = position - cell
    lines = grid[:, cell] * (1.0 - across) + grid[:, cell + 1] * across
    down = across[:, None]
    surface: Plane = lines[cell] * (1.0 - down) + lines[cell + 1] * down
    return surface


def stripes(rng: np.random.Generator) -> Plane:
    """A triangle wave in [0, 1] in a random direction."""
    across, along = between(rng, -0.12, 0.12), between(rng, -0.12, 0.12)
    phase = X * across + Y * along + rng.random()
    wave: Plane = np.abs(2.0 * (phase - np.floor(phase)) - 1.0)
    return wave


def sample_bilinear(image: Plane, rows: Plane, columns: Plane) -> Plane:
    """Read ``image`` at fractional positions; outside it is zero."""
    inside = np.flatnonzero((rows > -1) & (rows < image.shape[0]) & (columns > -1) & (columns < image.shape[1]))
    rows, columns = rows.ravel()[inside], columns.ravel()[inside]
    top, left = np.floor(rows), np.floor(columns)
    down, right = rows - top, columns - left
    padded = np.pad(image, 1)
    corner = (top.astype(np.int64) + 1) * padded.shape[1] + left.astype(np.int64) + 1
    flat = padded.ravel()
    upper = flat[corner] * (1.0 - right) + flat[corner + 1] * right
    corner += padded.shape[1]
    lower = flat[corner] * (1.0 - right) + flat[corner + 1] * right
    result = np.zeros(SIDE * SIDE)
    result[inside] = upper * (1.0 - down) + lower * down
    return result.reshape(SIDE, SIDE)


def blend(image: npt.NDArray[np.float64], color: npt.NDArray[np.float64], alpha: Plane) -> npt.NDArray[np.float64]:
    """Paint ``color`` (3) over an image where ``alpha`` says."""
    return image + alpha[:, :, None] * (color - image)


def blur(image: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    """One pass of (1, 2, 1)/4 along an axis, edges repeated."""
    values = np.moveaxis(image, axis, 0)
    result = 2.0 * values
    result[1:] += values[:-1]
    result[:-1] += values[1:]
    result[0] += values[0]
    result[-1] += values[-1]
    result *= 0.25
    return np.moveaxis(result, 0, axis)


def half_plane(rng: np.random.Generator, softness: float) -> Plane:
    """A soft edge through the picture in a random direction: 0 on one side, 1 on the other."""
    across, along = between(rng, -1.0, 1.0), between(rng, -1.0, 1.0)
    distance = (X - between(rng, 20.0, 92.0)) * across + (Y - between(rng, 20.0, 92.0)) * along
    edge: Plane = np.clip(distance / softness + 0.5, 0.0, 1.0)
    return edge
