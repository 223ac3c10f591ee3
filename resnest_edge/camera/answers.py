"""From an engine's probabilities to the classes that are named: smoothing over a source's frames, threshold, top-k."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from resnest_edge.camera.base import Answer
from resnest_edge.errors import InputError, UsageError


class Answerer:
    """Names classes, and remembers each source's smoothed probabilities. For one thread.

    Smoothing is exponential: ``s(t) = a·s(t−1) + (1 − a)·p(t)``, from ``s(0) = p(0)``. Its memory is about
    ``1 / (1 − a)`` frames, and probabilities that add up to 1 still do.

    Args:
        labels: class names, in class order.
        top_k: most classes of one answer; more than there are classes means all.
        threshold: 0 to 1; classes below it are not named.
        smoothing: ``a`` above, 0 (off) up to but not including 1.

    Raises:
        UsageError: no labels, or a value out of range.
    """

    def __init__(
        self, labels: Sequence[str], *, top_k: int = 1, threshold: float = 0.0, smoothing: float = 0.0
    ) -> None:
        if not labels:
            raise UsageError("there are no labels to answer with")
        if top_k < 1:
            raise UsageError(f"top-k is 1 or more, not {top_k}")
        if not 0.0 <= threshold <= 1.0:
            raise UsageError(f"the threshold is a probability, 0 to 1, not {threshold:g}")
        if not 0.0 <= smoothing < 1.0:
            raise UsageError(
                f"smoothing is 0 up to but not including 1, not {smoothing:g}",
                hint="0 is off; 0.8 remembers about five frames.",
            )
        self._labels = tuple(labels)
        self._top_k, self._threshold, self._smoothing = top_k, threshold, smoothing
        self._smoothed: dict[str, npt.NDArray[np.float64]] = {}

    def __call__(self, source: str, probabilities: npt.NDArray[np.float32]) -> tuple[Answer, ...]:
        """Answer for one frame.

        Args:
            source: name of the frame's source; frames of a source come in order.
            probabilities: (K,) float32 in [0, 1], of one frame.

        Returns:
            At most ``top_k`` classes at or above the threshold, most probable first, of equals the lower index first.

        Raises:
            InputError: not one finite number a label; the source's memory stays as it was.
        """
        if probabilities.shape != (len(self._labels),):
            raise InputError(f"probabilities of shape {probabilities.shape} do not fit {len(self._labels)} labels")
        if not np.isfinite(probabilities).all():
            raise InputError("the engine gave probabilities that are not finite")
        values = self._smooth(source, probabilities.astype(np.float64))
        best = np.argsort(-values, kind="stable")[: self._top_k]
        return tuple(
            Answer(int(index), self._labels[index], float(values[index]))
            for index in best
            if values[index] >= self._threshold
        )

    def forget(self, source: str) -> None:
        """Begin a source's smoothing anew, for a picture that has nothing to do with the last one."""
        self._smoothed.pop(source, None)

    def _smooth(self, source: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        before = self._smoothed.get(source)
        if not self._smoothing:
            return values
        smoothed = values if before is None else self._smoothing * before + (1.0 - self._smoothing) * values
        self._smoothed[source] = smoothed
        return smoothed
