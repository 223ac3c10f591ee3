"""A loaded TensorRT engine: one engine, and for each inference in flight a lane with a thread of its own."""

from __future__ import annotations

import contextlib
import queue
from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.base import Outputs, Session, SessionOptions
from resnest_edge.backends.cuda import Cuda
from resnest_edge.backends.tensorrt.build import input_shape
from resnest_edge.backends.tensorrt.device_array import DeviceArray, is_device_array, open_device_array
from resnest_edge.backends.tensorrt.engine import Engine
from resnest_edge.backends.tensorrt.lane import Lane
from resnest_edge.errors import InputError
from resnest_edge.spec import GraphInfo, InputFormat

_TIMINGS_KEPT = 10_000


class TensorRTSession(Session):
    """Runs an engine in ``options.streams`` CUDA streams at once.

    ``submit`` and ``run`` take NumPy arrays, and arrays that lie on the GPU (DLPack, or ``__cuda_array_interface__``)
    of exactly ``options.batch`` images, which are read where they are.

    Args:
        cuda: the CUDA library.
        engine: the loaded engine; the session closes it.
        info: what the engine is.
        options: batch size and streams; ``threads`` means nothing to a GPU.

    Raises:
        UnavailableError: there is not enough memory, or the GPU failed; everything made so far is freed.
        BundleMisfitError: the engine does not take the batch.
    """

    def __init__(self, cuda: Cuda, engine: Engine, info: GraphInfo, options: SessionOptions) -> None:
        super().__init__(info, options)
        self._cuda, self._engine = cuda, engine
        self._shape = input_shape(info, options.batch)
        self._dtype = np.dtype(np.uint8 if info.input_format is InputFormat.UINT8_NHWC else np.float32)
        self._clocks: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_TIMINGS_KEPT))
        self._free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        self._lanes: list[Lane] = []
        self._closing = contextlib.ExitStack()
        self._closing.callback(engine.close)
        try:
            with cuda.current():
                for _ in range(options.streams):
                    self._lanes.append(Lane(cuda, engine, info, options.batch))
                    self._closing.callback(self._lanes[-1].close)
                    self._free.put(self._lanes[-1])
        except BaseException:
            self._free_all()
            raise
        self._workers = ThreadPoolExecutor(options.streams, thread_name_prefix="tensorrt")

    def submit(self, images: npt.NDArray[Any]) -> Future[Outputs]:
        lane = self._free.get()
        try:
            future = self._workers.submit(self._infer, lane, self._source(images, lane))
        except BaseException:
            self._free.put(lane)
            raise
        future.add_done_callback(lambda _: self._free.put(lane))
        return future

    def _source(self, images: Any, lane: Lane) -> npt.NDArray[Any] | DeviceArray:
        """What a lane reads: a device array is opened here, in the thread that made it."""
        source = open_device_array(images, lane.stream.address) if is_device_array(images) else images
        if source.shape != self._shape or source.dtype != self._dtype:
            raise InputError(
                f"this session takes {self._shape} {self._dtype} at once, not {source.shape} {source.dtype}"
            )
        return source

    def _infer(self, lane: Lane, source: npt.NDArray[Any] | DeviceArray) -> Outputs:
        with self._cuda.current():
            answer, clocks = lane.infer(source)
        for name, value in asdict(clocks).items():
            if value is not None:
                self._clocks[name].append(value)
        return answer

    def run(self, images: npt.NDArray[Any]) -> Outputs:
        return self.submit(images).result() if is_device_array(images) else super().run(images)

    def timings(self) -> dict[str, float]:
        """``h2d_ms``, ``gpu_ms`` and ``d2h_ms`` from CUDA events, ``enqueue_ms`` from the host's clock."""
        return {name: median(values) for name, values in sorted(self._clocks.items())}

    def effective_settings(self) -> dict[str, Any]:
        device, reason = self._cuda.device(), next((lane.no_graph for lane in self._lanes if lane.no_graph), None)
        return {
            **self._engine.settings(),
            "cuda_binding": self._cuda.binding,
            "cuda": device.cuda,
            "gpu": device.name,
            "compute_capability": device.compute_capability,
            "streams": self.options.streams,
            "cuda_graph": reason is None,
            **({} if reason is None else {"cuda_graph_reason": reason}),
        }

    def close(self) -> None:
        self._workers.shutdown(wait=True)
        self._free_all()

    def _free_all(self) -> None:
        with self._cuda.current():
            self._closing.close()
