"""What calibration sees of each channel beside what batch norm remembers of it: signs that the images are other ones.

A folded convolution's output had, on the training images, the mean and deviation that batch norm was left with. Images
of the same kind, prepared in the same way, give them again; wrong ones do not, and nothing else in a checkpoint tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[np.floating]

OTHER_IMAGES = 0.2
"""Shift of the layers' means, in deviations, above which images are told to be others than those of the training."""
_ENOUGH = 10
"""Fewer images than this scatter more, and are allowed to."""
_STILL = 0.05
"""A channel whose deviation is a smaller share than this of the remembered one is dead."""
_DEAD = 0.01
"""Share of dead channels above which they are told."""
_NEGLIGIBLE = 1e-3
"""A channel's remembered deviation, as a share of its layer's largest, below which it says nothing."""


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of each output channel of one layer, before its ReLU: (channels,) each."""

    mean: _Array
    deviation: _Array


class MomentsObserver:
    """Accumulates the moments of layers' outputs, image by image, in constant memory.

    Args:
        layers: their names.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = tuple(layers)
        self.images = 0
        self._sums: list[npt.NDArray[np.float64]] = []

    def update(self, outputs: Sequence[npt.NDArray[np.float32]]) -> None:
        """Count one batch: for each layer the mean and the mean square over positions, (N, channels) each."""
        sums = [values.astype(np.float64).sum(0) for values in outputs]
        self._sums = sums if self.images == 0 else [old + new for old, new in zip(self._sums, sums, strict=True)]
        self.images += len(outputs[0])

    def moments(self) -> dict[str, Moments]:
        """The moments over all images so far, by layer."""
        means = [values / self.images for values in self._sums]
        return {
            layer: Moments(mean, np.sqrt(np.maximum(square - np.square(mean), 0.0)))
            for layer, mean, square in zip(self.layers, means[::2], means[1::2], strict=True)
        }


@dataclass(frozen=True)
class Pixels:
    """The network's input over some images, normalised, in the network's channel order.

    Attributes:
        images: their number.
        colour: mean of each channel; about 0 for the images that the preprocessing's mean was taken from.
        deviation: of all channels together; about 1.
        grey: whether red, green and blue are the same in every pixel.
    """

    images: int
    colour: tuple[float, float, float]
    deviation: float
    grey: bool


def shift(seen: Moments, remembered: Moments) -> float:
    """How far a layer's channels are from where they were: the median of ``|mean − mean'|/deviation'``."""
    says = _says(remembered)
    return float(np.median(np.abs(seen.mean - remembered.mean)[says] / remembered.deviation[says]))


def mean_shift(seen: Mapping[str, Moments], remembered: Mapping[str, Moments]) -> float:
    """The mean of the layers' shifts, in deviations; there is at least one layer."""
    return float(np.mean([shift(moments, remembered[layer]) for layer, moments in seen.items()]))


def training_signs(
    seen: Mapping[str, Moments],
    remembered: Mapping[str, Moments],
    pixels: Pixels,
) -> list[str]:
    """Whether the images are others than the network was trained on, as sentences with their figures.

    Args:
        seen: moments over calibration images.
        remembered: batch norm's, of the same layers at least.
        pixels: the network's input.
    """
    if not seen:
        return []
    told = []
    shifts = {layer: shift(moments, remembered[layer]) for layer, moments in seen.items()}
    mean, most = mean_shift(seen, remembered), OTHER_IMAGES * max(1.0, (_ENOUGH / pixels.images) ** 0.5)
    if mean > most:
        worst = max(shifts, key=lambda layer: shifts[layer])
        told.append(
            f"the network was trained on other images: its layers' means are off by {mean:.2f} of their deviations "
            f"(below {most:.2g} for images like those of the training), most in {worst} ({shifts[worst]:.1f}); "
            f"normalised, the pixels have mean {np.mean(pixels.colour):.2f} and deviation {pixels.deviation:.2f} "
            "(0 and 1 are usual): are these the right images, and --mean, --std and --color right"
        )
    if pixels.grey:
        told.append("the calibration images are grey: red, green and blue are the same in every pixel")
    return [*told, *_dead_signs(seen, remembered)]


def _dead_signs(seen: Mapping[str, Moments], remembered: Mapping[str, Moments]) -> list[str]:
    dead = {layer: _still(moments, remembered[layer]) for layer, moments in seen.items()}
    count, channels = sum(dead.values()), sum(len(moments.mean) for moments in seen.values())
    if count <= _DEAD * channels:
        return []
    worst = max(dead, key=lambda layer: dead[layer])
    text = (
        f"{count} of {channels} channels are dead on the calibration images and were alive on those of the training, "
        f"most in {worst} ({dead[worst]} of {len(seen[worst].mean)}): their ranges will clip other images"
    )
    return [text]


def _still(seen: Moments, remembered: Moments) -> int:
    return int(np.sum((seen.deviation < _STILL * remembered.deviation) & _says(remembered)))


def _says(remembered: Moments) -> npt.NDArray[np.bool_]:
    """Channels whose deviation is not next to nothing: what batch norm has switched off tells nothing."""
    result: npt.NDArray[np.bool_] = remembered.deviation >= _NEGLIGIBLE * remembered.deviation.max()
    return result
