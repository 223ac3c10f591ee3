"""Camera-like scenes of handwritten digits: backgrounds, light, pose, clutter, blur and noise, all labelled.

Scene i of a split is a function of (split, i) alone, with the same pixels on every machine (see ``canvas``). Train and
test scenes are drawn from different handwritten digits.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from resnest_edge.demo.canvas import (
    SIDE,
    Plane,
    X,
    Y,
    between,
    blend,
    blur,
    half_plane,
    sample_bilinear,
    smooth_noise,
    stripes,
)
from resnest_edge.demo.digits import INK, load_digits, split_indices
from resnest_edge.demo.digits import SIDE as DIGIT_SIDE
from resnest_edge.errors import UsageError
from resnest_edge.images.base import Pixels

_SPLITS = {"train": 1, "test": 2}
_Image = npt.NDArray[np.float64]


class DemoImages:
    """The first ``count`` scenes of ``train`` or ``test``, as an image set."""

    class_names = tuple(str(digit) for digit in range(10))

    def __init__(self, split: str, count: int) -> None:
        if split not in _SPLITS or count < 1:
            raise UsageError(f"demo scenes come as train or test, at least one, not {count} of {split!r}")
        self._split, self._count = split, count
        self.source = f"demo:{split}"

    def __len__(self) -> int:
        return self._count

    def name(self, index: int) -> str:
        """``test/00012``."""
        return f"{self._split}/{index:05d}"

    def label(self, index: int) -> int:
        """The digit in the middle; scenes go through the digits in turn."""
        return index % 10

    def load(self, index: int) -> Pixels:
        """Draw the scene: (112, 112, 3) uint8 RGB."""
        return draw_scene(self._split, index)

    def digest(self, index: int) -> str:
        """SHA-256 of the pixels."""
        return hashlib.sha256(self.load(index).tobytes()).hexdigest()


@lru_cache(maxsize=2048)
def draw_scene(split: str, index: int) -> Pixels:
    """Draw scene ``index`` of ``split``.

    Returns:
        (112, 112, 3) uint8 RGB, read-only: it is kept, since measuring reads the same scenes again.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([_SPLITS[split], index])))
    image = _background(rng)
    for _ in range(int(rng.integers(0, 4))):
        image = _distractor(rng, image, split)
    image = _digit(rng, image, split, index % 10)
    if rng.random() < 0.25:
        image = _bar(rng, image)
    scene = _camera(rng, _light(rng, image))
    scene.setflags(write=False)
    return scene


def _background(rng: np.random.Generator) -> _Image:
    first, second = 40.0 + 180.0 * rng.random(3), 40.0 + 180.0 * rng.random(3)
    mix = smooth_noise(rng, int(rng.integers(2, 6)))
    if rng.random() < 0.4:
        mix = mix + between(rng, 0.1, 0.5) * (stripes(rng) - 0.5)
    grain = smooth_noise(rng, int(rng.integers(16, 48))) - 0.5
    strength = between(rng, 0.25, 0.6)
    image = first + np.clip(mix, 0.0, 1.0)[:, :, None] * strength * (second - first)
    return image + between(rng, 5.0, 45.0) * grain[:, :, None]


def _digit(rng: np.random.Generator, image: _Image, split: str, label: int) -> _Image:
    size, shift = between(rng, 38.0, 74.0), 12.0
    centre = (SIDE / 2 + between(rng, -shift, shift), SIDE / 2 + between(rng, -shift, shift))
    alpha = _stroke(rng, _original(rng, split, label), size, centre, turn=0.2)
    local = (image[36, 36] + image[36, 76] + image[76, 36] + image[76, 76]) * 0.25
    contrast = between(rng, 38.0, 130.0)
    dark = bool(local.sum() > 3 * 128.0) if rng.random() < 0.8 else bool(local.sum() <= 3 * 128.0)
    color = local + (-contrast if dark else contrast) + 60.0 * (rng.random(3) - 0.5)
    return blend(image, np.clip(color, 0.0, 255.0), alpha * between(rng, 0.75, 1.0))


def _distractor(rng: np.random.Generator, image: _Image, split: str) -> _Image:
    """A piece of another digit at the border: clutter of the right texture and the wrong meaning."""
    edge, along = between(rng, -6.0, 10.0), between(rng, 0.0, SIDE)
    side = int(rng.integers(0, 4))
    centre = ((edge, along), (SIDE - edge, along), (along, edge), (along, SIDE - edge))[side]
    label = int(rng.integers(0, 10))
    alpha = _stroke(rng, _original(rng, split, label), between(rng, 22.0, 46.0), centre, turn=0.8)
    return blend(image, 255.0 * rng.random(3), alpha * between(rng, 0.4, 0.9))


def _original(rng: np.random.Generator, split: str, label: int) -> Plane:
    own = split_indices(split)[label]
    images, _ = load_digits()
    chosen: Plane = images[own[int(rng.integers(0, len(own)))]].astype(np.float64) / INK
    return chosen


def _stroke(rng: np.random.Generator, digit: Plane, size: float, centre: tuple[float, float], *, turn: float) -> Plane:
    """Coverage of a digit of ``size`` pixels at ``centre``, turned, sheared and seen in perspective.

    The rotation is the rational one, ``((1 − t²)/(1 + t²), 2t/(1 + t²))`` with t the tangent of half the angle.
    """
    t, shear = between(rng, -turn, turn), between(rng, -0.25, 0.25)
    cosine, sine = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
    x, y = X - centre[1], Y - centre[0]
    depth = 1.0 + between(rng, -0.003, 0.003) * x + between(rng, -0.003, 0.003) * y
    across, down = (cosine * x + sine * y) / depth, (cosine * y - sine * x) / depth * between(rng, 0.85, 1.2)
    scale = DIGIT_SIDE / size
    middle = (DIGIT_SIDE - 1) / 2.0
    value = sample_bilinear(digit, down * scale + middle, (across + shear * down) * scale + middle)
    threshold = between(rng, 0.18, 0.35)
    return np.clip((value - threshold) / between(rng, 0.15, 0.35), 0.0, 1.0)


def _bar(rng: np.random.Generator, image: _Image) -> _Image:
    """A thin straight thing in front."""
    across, along = between(rng, -1.0, 1.0), between(rng, -1.0, 1.0)
    offset = (X - between(rng, 30.0, 82.0)) * across + (Y - between(rng, 30.0, 82.0)) * along
    reach = between(rng, 1.0, 2.6) * (abs(across) + abs(along))
    alpha = np.clip(reach - np.abs(offset) + 0.5, 0.0, 1.0)
    return blend(image, 255.0 * rng.random(3), alpha * between(rng, 0.5, 1.0))


def _light(rng: np.random.Generator, image: _Image) -> _Image:
    across, along = between(rng, -0.3, 0.3), between(rng, -0.3, 0.3)
    light = between(rng, 0.6, 1.25) + (X / SIDE - 0.5) * across + (Y / SIDE - 0.5) * along
    if rng.random() < 0.35:
        light = light * (1.0 - between(rng, 0.2, 0.5) * half_plane(rng, between(rng, 2.0, 24.0)))
    radius = ((X - SIDE / 2) * (X - SIDE / 2) + (Y - SIDE / 2) * (Y - SIDE / 2)) / (SIDE * SIDE / 2)
    light = light * (1.0 - between(rng, 0.0, 0.4) * radius)
    cast = 1.0 + 0.25 * (rng.random(3) - 0.5)
    result: _Image = image * light[:, :, None] * cast
    return result


def _camera(rng: np.random.Generator, image: _Image) -> Pixels:
    """Out of focus, moving, noisy, and rounded to 8 bits."""
    for _ in range(int(rng.integers(0, 5))):
        image = blur(blur(image, 0), 1)
    if rng.random() < 0.3:
        axis = int(rng.integers(0, 2))
        for _ in range(int(rng.integers(4, 14))):
            image = blur(image, axis)
    noise = rng.random(image.shape) + rng.random(image.shape) + rng.random(image.shape) - 1.5
    image = image + between(rng, 2.0, 34.0) * noise
    return np.clip(np.floor(image + 0.5), 0.0, 255.0).astype(np.uint8)
