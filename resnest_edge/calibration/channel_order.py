"""Whether red and blue of the calibration images are swapped, by their cast: how far red exceeds blue on average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[np.float64]

LEAST_IMAGES = 32
"""Fewer do not tell their own scatter well enough for a normal deviate to mean what it says."""
CAST_ERROR = 0.03
"""Error allowed the cast of the training, which is solved from running statistics, in normalised pixels."""
REFUTED = 4.0
"""Standard errors from the cast of the training beyond which an order is refuted."""
FITS = 3.0
"""Standard errors within which an order fits."""
BETTER = 0.95
"""The layers' shift in the other order, as a share of that in the given one, below which the network agrees."""


@dataclass(frozen=True)
class Casts:
    """How far the network's first channel exceeds its last in each image, both (N,), in normalised pixels.

    Attributes:
        given: in the order of channels that was given.
        swapped: with red and blue swapped in the picture.
    """

    given: _Array
    swapped: _Array

    @classmethod
    def of(cls, colours: _Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Casts:
        """From each image's mean pixel.

        Args:
            colours: (N, 3), values in [0, 255], in the network's order of channels.
            mean: of the normalisation, 0 to 1.
            std: of the normalisation, 0 to 1.
        """
        shift, scale = np.array(mean)[::2], np.array(std)[::2]
        given, swapped = ((ends / 255 - shift) / scale for ends in (colours[:, ::2], colours[:, ::-2]))
        return cls(given[:, 0] - given[:, 1], swapped[:, 0] - swapped[:, 1])


def deviates(casts: Casts, expected: float) -> tuple[float, float]:
    """How many standard errors the mean casts are from the training's: in the given order, and in the other.

    The standard error is that of a mean of N images, by their own scatter, and :data:`CAST_ERROR` beside it.
    """
    given, swapped = (
        (float(values.mean()) - expected) / float(np.hypot(values.std(ddof=1) / len(values) ** 0.5, CAST_ERROR))
        for values in (casts.given, casts.swapped)
    )
    return given, swapped


def seem_swapped(casts: Casts, expected: float) -> bool:
    """Whether the cast refutes the given order, and the other one fits.

    With normal means, images of the training's kind in the right order are refuted once in 15,000 draws (two-sided, at
    four standard errors), whatever their number and cast; of swapped ones the fit at three leaves out one draw in 370.
    A swap is seen in half of the draws where it moves the cast by four standard errors. Where it moves it by less than
    one (grey images; a training without a cast), both orders cannot be four apart from and within three of the same
    value, and nothing is told. Images of another kind may have any cast, also just that of a swap, so the cast alone
    proves nothing of them: see :func:`order_signs`.

    Args:
        casts: of the calibration images.
        expected: the cast of the images of the training.
    """
    if len(casts.given) < LEAST_IMAGES:
        return False
    given, swapped = deviates(casts, expected)
    return abs(given) > REFUTED and abs(swapped) < FITS


def order_signs(casts: Casts, expected: float, shift: float, shift_swapped: float) -> list[str]:
    """The swap as a sentence, where the cast says so and the network agrees.

    The cast is one number, and images in another light may have any. What the layers see also knows what is red in a
    picture: a swap is told only where the other order brings their means nearer to those of the training.

    Args:
        casts: of the calibration images.
        expected: the cast of the images of the training.
        shift: mean shift of the layers from what batch norm remembers, in deviations, in the given order.
        shift_swapped: the same with red and blue swapped.
    """
    if not seem_swapped(casts, expected) or shift_swapped > BETTER * shift:
        return []
    given, swapped = deviates(casts, expected)
    text = (
        f"red and blue seem to be swapped: over {len(casts.given)} calibration images the network's first channel "
        f"exceeds its last by {casts.given.mean():+.2f} (normalised), {abs(given):.1f} standard errors from the "
        f"{expected:+.2f} of the training's images; in the other order by {casts.swapped.mean():+.2f} "
        f"({abs(swapped):.1f}), which also brings the layers' means nearer ({shift:.3f} to {shift_swapped:.3f} "
        "deviations): check that the pictures are not stored as BGR, then --color"
    )
    return [text]
