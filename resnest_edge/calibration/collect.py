"""Run the calibration images once and keep, for every activation tensor, a histogram."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
_Batch = tuple[npt.NDArray[Any], Sequence[str]]


class Statistics:
    """Histograms of a graph's activation tensors over the calibration images.

    Attributes:
        graph_digest: SHA-256 of the core graph.
        observers: a histogram per tensor.
        images: how many were counted.
        images_digest: SHA-256 over their digests, in order.
    """

    def __init__(self, graph_digest: str, tensors: Sequence[str]) -> None:
        self.graph_digest = graph_digest
        self.observers = {name: HistogramObserver(name) for name in tensors}
        self.images = 0
        self.images_digest = hashlib.sha256().hexdigest()
        self._digests = hashlib.sha256()

    def update(self, outputs: Sequence[npt.NDArray[Any]], digests: Sequence[str]) -> None:
        """Count one batch: the observed tensors and the digests of the images they came from."""
        self.observe(outputs)
        self.count(digests)

    def observe(self, outputs: Sequence[npt.NDArray[Any]]) -> None:
        """Count the values of one batch, whose images :meth:`count` names."""
        for observer, values in zip(self.observers.values(), outputs, strict=True):
            observer.update(values)

    def count(self, digests: Sequence[str]) -> None:
        """Name the images of one batch, in the set's order."""
        for digest in digests:
            self._digests.update(digest.encode())
        self.images += len(digests)
        self.images_digest = self._digests.hexdigest()

    def merge(self, other: Statistics) -> None:
        """Add the values that another one of the same tensors observed."""
        for name, observer in self.observers.items():
            observer.merge(other.observers[name])

    def include(self, part: Statistics) -> None:
        """Take over the tensors that another one observed on all of the images.

        Raises:
            ValueError: it saw other images than those that were included before.
        """
        if self.images and part.images_digest != self.images_digest:
            raise ValueError("parts of different images")
        self.observers.update(part.observers)
        self.images, self.images_digest = part.images, part.images_digest

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
        return Scales(self.graph_digest, self.images_digest, self.images, method, style, ranges)


def collect(
    run: Runner,
    batches: Iterable[_Batch],
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
    work = _Work(run, statistics, tensors, workers, on_counted)
    source = iter(batches)
    try:
        while (batch := _next(source, work)) is not None:
            work.take(*batch)
        work.finish()
    finally:
        work.close()
    return statistics


def _next(source: Iterator[_Batch], work: _Work) -> _Batch | None:
    try:
        return next(source, None)
    except ResnestEdgeError:
        work.finish()  # what is wrong with an earlier batch is said first
        raise


class _Work:
    """Batches at work in threads: counted by whichever is free, named in their order."""

    def __init__(
        self,
        run: Runner,
        statistics: Statistics,
        tensors: Sequence[str],
        workers: int,
        on_counted: Callable[[int], None],
    ) -> None:
        self._run, self._statistics, self._workers, self._on_counted = run, statistics, workers, on_counted
        self._parts = [Statistics(statistics.graph_digest, tensors) for _ in range(workers)]
        self._free: SimpleQueue[Statistics] = SimpleQueue()
        for part in self._parts:
            self._free.put(part)
        self._waiting: deque[tuple[Future[None], Sequence[str]]] = deque()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="observe")

    def take(self, images: npt.NDArray[Any], digests: Sequence[str]) -> None:
        """Hand one batch to a worker, once no more than one other waits."""
        if len(images) != len(digests):
            raise ValueError(f"{len(images)} images and {len(digests)} digests")
        self._finish(self._workers)
        self._waiting.append((self._pool.submit(self._observe, images), digests))

    def finish(self) -> None:
        """Wait for every batch, and add up what the workers counted."""
        self._finish(0)
        for part in self._parts:
            self._statistics.merge(part)

    def close(self) -> None:
        """End the threads; batches that no worker has begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _observe(self, images: npt.NDArray[Any]) -> None:
        part = self._free.get()
        try:
            part.observe(self._run(images))
        finally:
            self._free.put(part)

    def _finish(self, most: int) -> None:
        while len(self._waiting) > most:
            future, digests = self._waiting.popleft()
            future.result()
            self._statistics.count(digests)
            self._on_counted(self._statistics.images)
