"""Run the calibration images once and keep, for every activation tensor, a histogram."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy.typing as npt

from resnest_edge.calibration.observers import HistogramObserver
from resnest_edge.calibration.ranges import AUTO, METHODS, choose_range
from resnest_edge.calibration.scales import Scales, TensorRange
from resnest_edge.errors import ImageError, ResnestEdgeError, UsageError
from resnest_edge.spec import QdqStyle

Runner = Callable[[npt.NDArray[Any]], Sequence[npt.NDArray[Any]]]
"""Takes a batch as the engine would, gives the observed tensors, in the order they were named in."""
_Observers = dict[str, HistogramObserver]


class Statistics:
    """Histograms of a graph's activation tensors over the calibration images."""

    def __init__(self, graph_digest: str, tensors: Sequence[str]) -> None:
        self.graph_digest = graph_digest
        self.observers = _observers(tensors)
        self.images = 0
        self._digests = hashlib.sha256()

    def count(self, digests: Sequence[str]) -> None:
        """Name the images of the next batch, in the set's order."""
        for digest in digests:
            self._digests.update(digest.encode())
        self.images += len(digests)

    def merge(self, observers: Mapping[str, HistogramObserver]) -> None:
        """Add what was observed of each tensor, in any order."""
        for name, observer in self.observers.items():
            observer.merge(observers[name])

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
    workers: int = 1,
    on_counted: Callable[[int], None] = lambda _: None,
) -> Statistics:
    """Feed every batch through the FP32 graph; memory does not grow with the number of images.

    A worker runs a batch and counts it, so ``workers`` batches are at work at once and one more waits. Counts add up to
    the same in any order, and errors come in the order of the batches: the threads' timing changes nothing.

    Args:
        run: the FP32 graph, giving ``tensors`` for a batch; called from ``workers`` threads.
        batches: image batches as the engine takes them, each with the digests of its images.
        graph_digest: identity of the core graph.
        tensors: names of the activation tensors to observe.
        workers: batches at work at once, at least 1.
        on_counted: told, in the caller's thread, how many images are counted.
    """
    statistics = Statistics(graph_digest, tensors)
    parts = [_observers(tensors) for _ in range(workers)]
    free: SimpleQueue[_Observers] = SimpleQueue()
    for part in parts:
        free.put(part)

    def observe(images: npt.NDArray[Any]) -> None:
        part = free.get()
        try:
            for observer, values in zip(part.values(), run(images), strict=True):
                observer.update(values)
        finally:
            free.put(part)

    waiting: deque[tuple[Future[None], Sequence[str]]] = deque()

    def finish(most: int) -> None:
        while len(waiting) > most:
            future, digests = waiting.popleft()
            future.result()
            statistics.count(digests)
            on_counted(statistics.images)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="observe")
    try:
        for images, digests in batches:
            if len(images) != len(digests):
                raise ValueError(f"{len(images)} images and {len(digests)} digests")
            finish(workers)
            waiting.append((pool.submit(observe, images), digests))
        finish(0)
    except ResnestEdgeError:
        finish(0)  # what is wrong with an earlier batch is said first
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    for part in parts:
        statistics.merge(part)
    return statistics


def _observers(tensors: Sequence[str]) -> _Observers:
    return {name: HistogramObserver(name) for name in tensors}
