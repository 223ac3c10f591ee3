"""Whether calibration images are like those that a network was trained on."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.onnxruntime import GraphRunner
from resnest_edge.calibration.moments import Moments, MomentsObserver, Pixels, training_signs
from resnest_edge.graph.model import to_bytes
from resnest_edge.graph.moments import moments_graph
from resnest_edge.images import ImageSet, iter_batches, normalise
from resnest_edge.pipeline.typed import Network

_IMAGES_PER_RUN = 8


def compare_with_training(network: Network, images: ImageSet, *, skip_bad: bool) -> list[str]:
    """What batch norm's statistics say of the images, as sentences; nothing for a network that has none.

    Args:
        network: the FP32 core, and what its batch norms remember.
        images: some of the calibration images.
        skip_bad: leave damaged pictures out; calibration has named them.
    """
    remembered = {layer: Moments(*moments) for layer, moments in network.remembered().items()}
    if not remembered:
        return []
    whole = _Observed(network, remembered)
    first = _Observed(network, {whole.layers[0]}) if whole.layers else None
    pixels, grey = np.zeros(3), True
    size = network.only_batch or _IMAGES_PER_RUN
    for batch in iter_batches(images, network.preprocessing, size, skip_bad=skip_bad):
        if network.only_batch not in (None, len(batch.images)):
            continue
        shot = batch.images.astype(np.uint8, copy=False)
        values = normalise(shot, network.preprocessing)
        whole.see(values)
        pixels += (values.size, float(values.sum(dtype=np.float64)), float(np.square(values, dtype=np.float64).sum()))
        grey = grey and bool((shot == shot[..., :1]).all())
        if first is not None:
            first.see(normalise(np.ascontiguousarray(shot[..., ::-1]), network.preprocessing))
    if not pixels[0] or first is None:
        return []
    mean = pixels[1] / pixels[0]
    about = Pixels(mean, float(np.sqrt(max(pixels[2] / pixels[0] - mean**2, 0.0))), grey)
    swapped = first.observer.moments()[whole.layers[0]]
    return training_signs(whole.observer.moments(), swapped, remembered, about)


class _Observed:
    """The core graph, cut down to what some layers' moments need."""

    def __init__(self, network: Network, layers: Container[str]) -> None:
        model, self.layers = moments_graph(network.core, layers)
        self.observer = MomentsObserver(self.layers)
        self._runner = GraphRunner(to_bytes(model), [value.name or "" for value in model.graph.outputs])

    def see(self, values: npt.NDArray[Any]) -> None:
        """Count one normalised batch."""
        self.observer.update(self._runner(values))
