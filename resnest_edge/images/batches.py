"""Batches for an engine: pictures decoded by threads ahead of the consumer, in order, in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from resnest_edge.errors import ImageError, UsageError
from resnest_edge.images.base import ImageSet, Pixels
from resnest_edge.images.transform import transform
from resnest_edge.spec import InputFormat, Preprocessing

_MAX_WORKERS = 8


@dataclass(frozen=True, eq=False)
class Batch:
    """N pictures as an engine takes them.

    Attributes:
        images: (N, S, S, 3) uint8 RGB, or (N, 3, S, S) float32 RGB in [0, 255]; never empty.
        labels: (N,) int64 class indices, -1 where unknown.
        indices: (N,) int64 indices into the image set.
        skipped: names of bad pictures left out since the batch before.
    """

    images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    skipped: tuple[str, ...] = ()


def iter_batches(
    images: ImageSet,
    preprocessing: Preprocessing,
    batch_size: int,
    *,
    input_format: InputFormat = InputFormat.UINT8_NHWC,
    skip_bad: bool = False,
    on_progress: Callable[[int], None] | None = None,
    prefetch: int = 2,
    workers: int | None = None,
) -> Generator[Batch, None, None]:
    """Decode, resize and batch a whole set, in its order; every batch is full except perhaps the last.

    Threads work ahead of the consumer, on ``prefetch`` batches at most, so memory does not grow with the set.
    Closing the generator, or leaving it, ends them. An empty set gives no batches.

    Args:
        images: the set; its ``load`` is called from several threads.
        preprocessing: how a picture becomes the square input.
        batch_size: pictures a batch.
        input_format: which array to make.
        skip_bad: leave out pictures that raise ImageError, naming them in the next batch, instead of raising.
        on_progress: called in the consumer's thread before each batch, with the number of pictures done so far,
            bad ones included.
        prefetch: batches decoded ahead, at least 1.
        workers: decoding threads; None means the cores this process may use, 8 at most.

    Raises:
        UsageError: ``batch_size``, ``prefetch`` or ``workers`` is below 1.
        ImageError: from the iteration: a picture is bad (naming it), or with ``skip_bad`` all of them are.
    """
    threads = min(_MAX_WORKERS, _cores()) if workers is None else workers
    for name, value in (("batch size", batch_size), ("prefetch", prefetch), ("number of workers", threads)):
        if value < 1:
            raise UsageError(f"the {name} is {value}", hint="It must be at least 1.")
    pictures = _decode_ahead(images, preprocessing, ahead=prefetch * batch_size, threads=threads)
    return _batches(images, pictures, batch_size, input_format, skip_bad, on_progress or _ignore)


def _batches(
    images: ImageSet,
    pictures: Generator[tuple[int, Pixels | ImageError], None, None],
    batch_size: int,
    input_format: InputFormat,
    skip_bad: bool,
    on_progress: Callable[[int], None],
) -> Generator[Batch, None, None]:
    taken: list[tuple[int, Pixels]] = []
    skipped: list[str] = []
    done = 0
    try:
        for index, picture in pictures:
            if isinstance(picture, ImageError):
                if not skip_bad:
                    raise picture
                skipped.append(images.name(index))
                continue
            # A full batch waits for the next good picture, so bad ones at the very end have a batch to be named in.
            if len(taken) == batch_size:
                done += len(taken) + len(skipped)
                on_progress(done)
                yield _assemble(images, taken, skipped, input_format)
                taken, skipped = [], []
            taken.append((index, picture))
    finally:
        pictures.close()
    if taken:
        on_progress(done + len(taken) + len(skipped))
        yield _assemble(images, taken, skipped, input_format)
    elif skipped:
        raise ImageError(f"all {len(skipped)} pictures are bad; the first is {skipped[0]}", where=images.source)


def _assemble(
    images: ImageSet, taken: list[tuple[int, Pixels]], skipped: list[str], input_format: InputFormat
) -> Batch:
    indices = [index for index, _ in taken]
    labels = [-1 if label is None else label for label in map(images.label, indices)]
    pixels = np.stack([picture for _, picture in taken])
    planar = input_format is InputFormat.FLOAT_NCHW
    return Batch(
        images=np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32) if planar else pixels,
        labels=np.asarray(labels, dtype=np.int64),
        indices=np.asarray(indices, dtype=np.int64),
        skipped=tuple(skipped),
    )


def _decode_ahead(
    images: ImageSet, preprocessing: Preprocessing, *, ahead: int, threads: int
) -> Generator[tuple[int, Pixels | ImageError], None, None]:
    """Every picture in order, or the error it gave; at most ``ahead`` are decoded or being decoded unseen."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    waiting: deque[tuple[int, Future[Pixels | ImageError]]] = deque()
    remaining: Iterator[int] = iter(range(len(images)))
    try:
        while True:
            for index in islice(remaining, ahead - len(waiting)):
                waiting.append((index, pool.submit(_prepare, images, index, preprocessing)))
            if not waiting:
                return
            index, future = waiting.popleft()
            yield index, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare(images: ImageSet, index: int, preprocessing: Preprocessing) -> Pixels | ImageError:
    try:
        pixels = images.load(index)
    except ImageError as exc:
        return exc
    try:
        return transform(pixels, preprocessing)
    except ImageError as exc:
        named = ImageError(exc.what, where=images.name(index), hint=exc.hint)
        named.__cause__ = exc
        return named


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _ignore(_: int) -> None:
    return None
