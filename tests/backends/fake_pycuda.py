"""A stand-in for ``pycuda.driver`` over the same fake GPU; every call must come from a thread with the context."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.backends.fake_cuda import OK, FakeRuntime


class Error(Exception):
    """PyCUDA's base class."""


class MemoryError(Error):  # noqa: A001  # PyCUDA's name
    pass


def fake_driver(runtime: FakeRuntime) -> Any:
    """The names of ``pycuda.driver`` that this package uses."""
    current = threading.local()

    def ready() -> None:
        if not getattr(current, "depth", 0):
            raise Error("cuCtxGetCurrent failed: invalid device context")

    def call(name: str, *arguments: Any) -> Any:
        ready()
        error, *results = getattr(runtime, name)(*arguments)
        if error is not OK:
            raise MemoryError(f"{name} failed: out of memory")
        return results[0] if results else None

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            self._stream = call("cudaStreamCreateWithFlags", flags)
            self.handle = int(self._stream)

        def synchronize(self) -> None:
            call("cudaStreamSynchronize", self._stream)

        def __del__(self) -> None:
            runtime.cudaStreamDestroy(self._stream)

    class Event:
        def __init__(self) -> None:
            self._event = call("cudaEventCreate")

        def record(self, stream: Stream) -> None:
            call("cudaEventRecord", self._event, stream.handle)

        def time_since(self, start: Event) -> float:
            return float(call("cudaEventElapsedTime", start._event, self._event))

        def __del__(self) -> None:
            runtime.cudaEventDestroy(self._event)

    class Allocation:
        def __init__(self, name: str, size: int) -> None:
            self.address, self._name = call(name, size), name

        def __int__(self) -> int:
            return int(self.address)

        def free(self) -> None:
            call({"cudaMalloc": "cudaFree", "cudaMallocHost": "cudaFreeHost"}[self._name], self.address)

    class Pinned(np.ndarray[Any, Any]):
        allocation: Allocation

        @property
        def base(self) -> Any:
            return self.allocation

    def pagelocked_empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        allocation = Allocation("cudaMallocHost", size)
        array = np.ctypeslib.as_array(runtime._buffers[allocation.address]).view(dtype).reshape(shape).view(Pinned)
        array.allocation = allocation
        return array

    class Context:
        def push(self) -> None:
            current.depth = getattr(current, "depth", 0) + 1

        @staticmethod
        def pop() -> None:
            ready()
            current.depth -= 1

        @staticmethod
        def synchronize() -> None:
            ready()
            for stream in runtime.streams.values():
                stream.wait()

    class Device:
        def __init__(self, index: int) -> None: ...

        @staticmethod
        def count() -> int:
            return runtime.devices

        def retain_primary_context(self) -> Context:
            return Context()

        def name(self) -> str:
            return runtime.name

        def compute_capability(self) -> tuple[int, int]:
            return runtime.capability

        def total_memory(self) -> int:
            return runtime.memory

    return SimpleNamespace(
        Error=Error,
        init=lambda: None,
        Device=Device,
        Context=Context,
        Stream=Stream,
        Event=Event,
        mem_alloc=lambda size: Allocation("cudaMalloc", size),
        pagelocked_empty=pagelocked_empty,
        get_driver_version=lambda: runtime.cuda_version,
        memcpy_htod_async=lambda to, array, stream: call(
            "cudaMemcpyAsync", to, array.ctypes.data, array.nbytes, 1, stream.handle
        ),
        memcpy_dtoh_async=lambda array, source, stream: call(
            "cudaMemcpyAsync", array.ctypes.data, source, array.nbytes, 2, stream.handle
        ),
    )
