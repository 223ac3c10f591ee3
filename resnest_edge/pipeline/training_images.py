"""Whether calibration images are like those that a network was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.onnxruntime import GraphRunner
from resnest_edge.calibration.moments import Moments, MomentsObserver, Pixels, training_signs
from resnest_edge.graph.model import to_bytes
from resnest_edge.graph.moments import moments_graph
from resnest_edge.images import ImageSet, iter_batches, normalise
from resnest_edge.pipeline.typed import Network
from resnest_edge.spec import Preprocessing

_IMAGES_PER_RUN = 8


@dataclass(frozen=True)
class Looked:
    """What some images do to a network, beside what its batch norms remember.

    Attributes:
        remembered: moments of the layers' output channels on the images of the training.
        colour: mean of the normalised pixels there, where that is known.
        seen: the layers' moments on these images.
        pixels: the network's input.
    """

    remembered: dict[str, Moments]
    colour: tuple[float, float, float] | None
    seen: dict[str, Moments]
    pixels: Pixels

    @property
    def signs(self) -> list[str]:
        """What is odd, as sentences."""
        return training_signs(self.seen, self.remembered, self.pixels, self.colour)


def compare_with_training(network: Network, images: ImageSet, *, skip_bad: bool) -> list[str]:
    """What batch norm's statistics say of the images, as sentences; nothing for a network that has none.

    Args:
        network: the FP32 core, and what its batch norms remember.
        images: some of the calibration images.
        skip_bad: leave damaged pictures out; calibration has named them.
    """
    found = look_at(network, images, skip_bad=skip_bad)
    return [] if found is None else found.signs


def look_at(network: Network, images: ImageSet, *, skip_bad: bool) -> Looked | None:
    """Run the images once; None where nothing is remembered, or no image can be read."""
    if network.remembered is None:
        return None
    known = network.remembered()
    remembered = {layer: Moments(*moments) for layer, moments in known.layers.items()}
    model, layers = moments_graph(network.core, remembered)
    if not layers:
        return None
    runner = GraphRunner(to_bytes(model), [value.name or "" for value in model.graph.outputs])
    observer, pixels = MomentsObserver(layers), _PixelSums(network.preprocessing)
    size = network.only_batch or _IMAGES_PER_RUN
    for batch in iter_batches(images, network.preprocessing, size, skip_bad=skip_bad):
        if network.only_batch in (None, len(batch.images)):
            observer.update(runner(pixels.see(batch.images.astype(np.uint8, copy=False))))
    return Looked(remembered, known.colour, observer.moments(), pixels.summary()) if observer.images else None


class _PixelSums:
    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing, self._images, self._grey = preprocessing, 0, True
        self._sums = np.zeros((3, 3))  # of each channel as given and swapped, and of its square as given

    def see(self, shot: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Count one batch, (N, S, S, 3) as decoded; gives it normalised."""
        values = normalise(shot, self._preprocessing)
        swapped = normalise(np.ascontiguousarray(shot[..., ::-1]), self._preprocessing)
        for row, pixels in enumerate((values, swapped, np.square(values))):
            self._sums[row] += pixels.mean((2, 3), np.float64).sum(0)
        self._images += len(shot)
        self._grey = self._grey and bool((shot == shot[..., :1]).all())
        return values

    def summary(self) -> Pixels:
        means = self._sums / self._images
        given, swapped = ((float(row[0]), float(row[1]), float(row[2])) for row in means[:2])
        deviation = float(np.sqrt(max(means[2].mean() - means[0].mean() ** 2, 0.0)))
        return Pixels(self._images, given, swapped, deviation, self._grey)
