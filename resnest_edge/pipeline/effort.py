"""How calibration spends memory and cores: pictures a batch, batches at once, threads a batch."""

from __future__ import annotations

import ctypes
import gc
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import onnx_ir as ir

_FLOAT_BYTES = 4
_BATCH_BYTES = 128 << 20
_BYTES = 512 << 20
_Given = TypeVar("_Given")
_Found = TypeVar("_Found")
_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True)
class Effort:
    """How a set of images is run through a graph that gives every observed tensor.

    Attributes:
        batch: images a run. The last bit of a matrix product may depend on it, so it does not depend on the machine.
        workers: runs at once.
        threads: cores a run computes with.
    """

    batch: int
    workers: int
    threads: int


def plan_effort(core: ir.Model, tensors: Sequence[str], *, only_batch: int | None, images: int, cores: int) -> Effort:
    """Divide cores and memory: 128 MiB of observed tensors a run and 512 MiB in all, unless one image needs more.

    One thread an image wastes no core on waiting for another, so runs come first and threads share what is left.

    Args:
        core: the core graph, whose tensors have shapes.
        tensors: the observed ones.
        only_batch: the batch a foreign model was exported with, where that is fixed.
        images: how many there are to run.
        cores: how many this process may use.
    """
    size = image_bytes(core, tensors)
    batch = only_batch or max(1, min(images, _BATCH_BYTES // size))
    workers = max(1, min(cores, _BYTES // (batch * size)))
    return Effort(batch, workers, max(1, cores // workers))


def image_bytes(core: ir.Model, tensors: Sequence[str], unknown: int = _BATCH_BYTES) -> int:
    """Bytes that tensors of one image take in float32, at least 1; one of unknown shape counts ``unknown``."""
    values = {value.name: value for value in core.graph.inputs}
    values.update({value.name: value for node in core.graph for value in node.outputs})
    total = 0
    for name in tensors:
        shape = values[name].shape
        count = 1
        for dim in [] if shape is None else shape[1:]:
            count = count * dim if isinstance(dim, int) else unknown
        total += unknown if shape is None else count * _FLOAT_BYTES
    return max(total, 1)


def groups_within(sizes: Mapping[_Key, int], budget: int) -> list[list[_Key]]:
    """Cut a sequence into runs whose sizes sum to no more than ``budget``; what exceeds it alone is a run by itself."""
    runs: list[list[_Key]] = []
    room = -1
    for key, size in sizes.items():
        if size > room:
            runs.append([])
            room = budget
        runs[-1].append(key)
        room -= size
    return runs


def run_ahead(
    run: Callable[[_Given], _Found], given: Iterable[_Given], workers: int, *, threads: int = 1
) -> Iterator[_Found]:
    """Call ``run`` on everything given, from several threads, and give the results in order, as ``map`` would.

    Meanwhile NumPy's matrix products use ``threads`` threads each: left alone, every one takes all cores, and its
    threads wait for the next one by spinning on the cores that the workers need.

    Args:
        run: called from ``workers`` threads at once.
        given: taken in the caller's thread, no more than one ahead of the workers.
        workers: at least 1.
        threads: at least 1.
    """
    from threadpoolctl import threadpool_limits

    pool = ThreadPoolExecutor(workers, thread_name_prefix="run")
    waiting: deque[Future[_Found]] = deque()
    try:
        with threadpool_limits(threads, user_api="blas"):
            for one in given:
                if len(waiting) > workers:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(run, one))
            while waiting:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def release_memory() -> None:
    """Give the system back what is free: exporting leaves cycles, and glibc keeps freed memory for itself."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own
    if trim is not None:
        trim(0)
