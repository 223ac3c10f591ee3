"""Whether calibration images are like those that a network was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.onnxruntime import GraphRunner
from resnest_edge.calibration.channel_order import Casts, order_signs, seem_swapped
from resnest_edge.calibration.moments import Moments, MomentsObserver, Pixels, mean_shift, training_signs
from resnest_edge.graph.model import to_bytes
from resnest_edge.graph.moments import moments_graph
from resnest_edge.images import ImageSet, iter_batches, normalise
from resnest_edge.pipeline.pictures import spread
from resnest_edge.pipeline.typed import Network
from resnest_edge.spec import Preprocessing

_IMAGES_PER_RUN = 8
_NETWORK_IMAGES = 32
_CAST_IMAGES = 512
_Layers = dict[str, Moments]
_Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Looked:
    """What some images do to a network, beside what its batch norms remember.

    Attributes:
        remembered: moments of the layers' output channels on the images of the training.
        colour: mean of the normalised pixels there, where that is known.
        seen: the layers' moments on up to 32 of these images.
        pixels: the network's input there.
        casts: difference of the first and last channel in up to 512 of these images.
        swapped: as ``seen``, with red and blue swapped; None unless the casts say that they are.
    """

    remembered: _Layers
    colour: _Colour | None
    seen: _Layers
    pixels: Pixels
    casts: Casts
    swapped: _Layers | None

    @property
    def expected_cast(self) -> float | None:
        """Difference of the first and last channel on the images of the training, where that is known."""
        return None if self.colour is None else self.colour[0] - self.colour[2]

    @property
    def signs(self) -> list[str]:
        """What is odd, as sentences."""
        told = training_signs(self.seen, self.remembered, self.pixels)
        if self.swapped is None or self.expected_cast is None:
            return told
        shifts = (mean_shift(layers, self.remembered) for layers in (self.seen, self.swapped))
        return [*order_signs(self.casts, self.expected_cast, *shifts), *told]


def compare_with_training(network: Network, images: ImageSet, *, skip_bad: bool) -> list[str]:
    """What batch norm's statistics say of the images, as sentences; nothing for a network that has none.

    Args:
        network: the FP32 core, and what its batch norms remember.
        images: the calibration images; 32 of them, spread evenly, are run, and the colours of up to 512 are taken.
        skip_bad: leave damaged pictures out; calibration has named them.
    """
    found = look_at(network, images, skip_bad=skip_bad)
    return [] if found is None else found.signs


def look_at(network: Network, images: ImageSet, *, skip_bad: bool) -> Looked | None:
    """Run some of the images once; None where nothing is remembered, or no image can be read.

    They are run a second time, with red and blue swapped, where their casts say that the order is wrong.
    """
    if network.remembered is None:
        return None
    known = network.remembered()
    remembered = {layer: Moments(*moments) for layer, moments in known.layers.items()}
    model, layers = moments_graph(network.core, remembered)
    if not layers:
        return None
    runner = GraphRunner(to_bytes(model), [value.name or "" for value in model.graph.outputs])
    pixels = _PixelSums(network.preprocessing)
    few = spread(images, _NETWORK_IMAGES, network.only_batch or 1)

    def run(see: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]) -> MomentsObserver:
        observer = MomentsObserver(layers)
        for batch in iter_batches(few, network.preprocessing, network.only_batch or _IMAGES_PER_RUN, skip_bad=skip_bad):
            if network.only_batch in (None, len(batch.images)):
                observer.update(runner(see(batch.images.astype(np.uint8, copy=False))))
        return observer

    seen = run(pixels.see)
    if not seen.images:
        return None
    casts = _casts(network.preprocessing, images, skip_bad=skip_bad)
    swapped = None
    if known.colour is not None and seem_swapped(casts, known.colour[0] - known.colour[2]):
        swapped = run(lambda shot: normalise(np.ascontiguousarray(shot[..., ::-1]), network.preprocessing)).moments()
    return Looked(remembered, known.colour, seen.moments(), pixels.summary(), casts, swapped)


def _casts(preprocessing: Preprocessing, images: ImageSet, *, skip_bad: bool) -> Casts:
    """Decode up to 512 images for their mean pixels alone, so that statistics from a cache are judged alike."""
    many = spread(images, _CAST_IMAGES)
    batches = iter_batches(many, preprocessing, _IMAGES_PER_RUN, skip_bad=skip_bad)
    none = np.empty((0, 3))  # where every picture is damaged
    colours = np.concatenate([none, *(batch.images.mean((1, 2), np.float64) for batch in batches)])
    ordered = colours if preprocessing.color == "rgb" else colours[:, ::-1]
    return Casts.of(ordered, preprocessing.mean, preprocessing.std)


class _PixelSums:
    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing, self._images, self._grey = preprocessing, 0, True
        self._sums = np.zeros((2, 3))  # of each channel, and of its square

    def see(self, shot: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Count one batch, (N, S, S, 3) as decoded; gives it normalised."""
        values = normalise(shot, self._preprocessing)
        for row, pixels in enumerate((values, np.square(values))):
            self._sums[row] += pixels.mean((2, 3), np.float64).sum(0)
        self._images += len(shot)
        self._grey = self._grey and bool((shot == shot[..., :1]).all())
        return values

    def summary(self) -> Pixels:
        means = self._sums / self._images
        colour = (float(means[0, 0]), float(means[0, 1]), float(means[0, 2]))
        deviation = float(np.sqrt(max(means[1].mean() - means[0].mean() ** 2, 0.0)))
        return Pixels(self._images, colour, deviation, self._grey)
