"""Run the calibration images once and keep, for every activation tensor, a histogram."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from resnest_edge.calibration.observers import HistogramObserver
from resnest_edge.calibration.ranges import AUTO, METHODS, choose_range
from resnest_edge.calibration.scales import Scales, TensorRange
from resnest_edge.errors import ImageError, UsageError
from resnest_edge.spec import QdqStyle

Runner = Callable[[npt.NDArray[Any]], Sequence[npt.NDArray[Any]]]
"""Takes a batch as the engine would, gives the observed tensors, in the order they were named in."""


class Statistics:
    """Histograms of a graph's activation tensors over the calibration images."""

    def __init__(self, graph_digest: str, tensors: Sequence[str]) -> None:
        self.graph_digest = graph_digest
        self.observers = {name: HistogramObserver(name) for name in tensors}
        self.images = 0
        self._digests = hashlib.sha256()

    def update(self, outputs: Sequence[npt.NDArray[Any]], digests: Sequence[str]) -> None:
        """Count one batch: the observed tensors and the digests of the images they came from."""
        for observer, values in zip(self.observers.values(), outputs, strict=True):
            observer.update(values)
        for digest in digests:
            self._digests.update(digest.encode())
        self.images += len(digests)

    def scales(self, method: str, style: QdqStyle) -> Scales:
        """Choose the range of every tensor.

        Args:
            method: ``max``, ``percentile``, ``entropy`` or ``mse``.
            style: the Q/DQ style the scales are for.

        Raises:
            UsageError: the method is not known.
            ImageError: no image was seen.
        """
        if method not in METHODS:
            known = ", ".join((*METHODS, AUTO))
            raise UsageError(f"calibration method {method!r} is not known", hint=f"Use one of {known}.")
        if self.images == 0:
            raise ImageError("there was no image to calibrate on")
        ranges: Mapping[str, TensorRange] = {
            name: TensorRange(seen.minimum, seen.maximum, *choose_range(seen, method, style))
            for name, seen in self.observers.items()
        }
        return Scales(self.graph_digest, self._digests.hexdigest(), self.images, method, style, ranges)


def collect(
    run: Runner,
    batches: Iterable[tuple[npt.NDArray[Any], Sequence[str]]],
    *,
    graph_digest: str,
    tensors: Sequence[str],
) -> Statistics:
    """Feed every batch through the FP32 graph; memory does not grow with the number of images.

    Args:
        run: the FP32 graph, giving ``tensors`` for a batch.
        batches: image batches as the engine takes them, each with the digests of its images.
        graph_digest: identity of the core graph.
        tensors: names of the activation tensors to observe.
    """
    statistics = Statistics(graph_digest, tensors)
    for images, digests in batches:
        if len(images) != len(digests):
            raise ValueError(f"{len(images)} images and {len(digests)} digests")
        statistics.update(run(images), digests)
    return statistics
