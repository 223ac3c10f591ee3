"""A stand-in for ``cuda.bindings.runtime``: host memory as device memory, and streams that work in their own threads.

Nothing is done when it is asked for, only some time later and in order, as on a GPU: a result that is read without
waiting, or a buffer that is filled again too early, gives wrong numbers. What is allocated and not freed is counted.
"""

from __future__ import annotations

# ruff: noqa: N802, N815  # the names are CUDA's
import ctypes
import enum
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

Work = Callable[[], object]


class Error(enum.Enum):
    """A few of ``cudaError_t``."""

    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorStreamCaptureUnsupported = 900


OK = Error.cudaSuccess


class Stream:
    """Runs what it is given in order, in a thread of its own; while capturing it only notes it."""

    def __init__(self, handle: int, delay: float) -> None:
        self._handle, self._delay = handle, delay
        self._work: queue.Queue[Work | None] = queue.Queue()
        self.captured: list[Work] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __int__(self) -> int:
        return self._handle

    def put(self, work: Work) -> None:
        if self.captured is not None:
            self.captured.append(work)
        else:
            self._work.put(work)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            time.sleep(self._delay)
            work()
            self._work.task_done()

    def wait(self) -> None:
        assert self.captured is None, "waiting ends a capture"
        self._work.join()

    def stop(self) -> None:
        self._work.put(None)
        self._thread.join()


class Event:
    """When it happened, or None."""

    def __init__(self) -> None:
        self.time: float | None = None
        self.happened = threading.Event()

    def happen(self) -> None:
        self.time = time.perf_counter()
        self.happened.set()


class FakeRuntime:
    """The functions of ``cuda.bindings.runtime`` that this package calls, under their names.

    Args:
        devices: GPUs to show.
        driver: False for a machine without a driver.
        delay: seconds that each piece of work waits before it begins.
        memory: bytes that can be allocated; more is refused.
        capturable: False where ending a capture fails.
    """

    cudaError_t = Error
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1

    def __init__(
        self,
        *,
        devices: int = 1,
        driver: bool = True,
        delay: float = 0.0,
        memory: int = 1 << 30,
        capturable: bool = True,
    ) -> None:
        self.devices, self.driver, self.delay, self.memory, self.capturable = devices, driver, delay, memory, capturable
        self.live: Counter[str] = Counter()
        self.made: Counter[str] = Counter()
        self.streams: dict[int, Stream] = {}
        self.capability, self.name, self.cuda_version = (8, 7), "Fake Orin", 12060
        self._buffers: dict[int, Any] = {}
        self._lock = threading.RLock()  # what is freed by the garbage collector is counted too

    def stream(self, handle: Any) -> Stream:
        return self.streams[int(handle)]

    def _born(self, kind: str) -> None:
        with self._lock:
            self.live[kind] += 1
            self.made[kind] += 1

    def _dead(self, kind: str) -> None:
        with self._lock:
            self.live[kind] -= 1
            assert self.live[kind] >= 0, f"{kind} freed twice"

    def cudaGetErrorString(self, error: Error) -> tuple[Error, bytes]:
        return OK, {35: b"CUDA driver version is insufficient"}.get(error.value, b"something failed")

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return (OK, self.devices) if self.driver else (Error.cudaErrorInsufficientDriver, None)

    def cudaGetDevice(self) -> tuple[Any, ...]:
        return OK, 0

    def cudaGetDeviceProperties(self, index: int) -> tuple[Any, ...]:
        major, minor = self.capability
        properties = SimpleNamespace(
            name=self.name.encode() + b"\0\0", major=major, minor=minor, totalGlobalMem=self.memory
        )
        return OK, properties

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return OK, self.cuda_version

    def _allocate(self, kind: str, size: int) -> tuple[Any, ...]:
        with self._lock:
            if sum(len(buffer) for buffer in self._buffers.values()) + size > self.memory:
                return Error.cudaErrorMemoryAllocation, None
            buffer = (ctypes.c_uint8 * size).from_buffer(bytearray(b"\xa5" * size))
            self._buffers[ctypes.addressof(buffer)] = buffer
        self._born(kind)
        return OK, ctypes.addressof(buffer)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate("memory", size)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._allocate("pinned", size)

    def _release(self, kind: str, address: int) -> tuple[Error]:
        if address == 0:
            return (OK,)
        with self._lock:
            del self._buffers[address]
        self._dead(kind)
        return (OK,)

    def cudaFree(self, address: int) -> tuple[Error]:
        return self._release("memory", address)

    def cudaFreeHost(self, address: int) -> tuple[Error]:
        return self._release("pinned", address)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: Any) -> tuple[Error]:
        self.stream(stream).put(lambda: ctypes.memmove(to, source, size))
        return (OK,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        self._born("stream")
        stream = Stream(0x1000 + self.made["stream"], self.delay)
        self.streams[int(stream)] = stream
        return OK, stream

    def cudaStreamSynchronize(self, stream: Any) -> tuple[Error]:
        self.stream(stream).wait()
        return (OK,)

    def cudaStreamDestroy(self, stream: Any) -> tuple[Error]:
        self.streams.pop(int(stream)).stop()
        self._dead("stream")
        return (OK,)

    def cudaStreamWaitEvent(self, stream: Any, event: Event, flags: int) -> tuple[Error]:
        self.stream(stream).put(lambda: event.happened.wait())
        return (OK,)

    def cudaEventCreate(self) -> tuple[Any, ...]:
        self._born("event")
        return OK, Event()

    def cudaEventRecord(self, event: Event, stream: Any) -> tuple[Error]:
        event.happened.clear()
        self.stream(stream).put(event.happen)
        return (OK,)

    def cudaEventElapsedTime(self, start: Event, end: Event) -> tuple[Any, ...]:
        if start.time is None or end.time is None:
            return Error.cudaErrorInvalidValue, None
        return OK, 1000.0 * (end.time - start.time)

    def cudaEventDestroy(self, event: Event) -> tuple[Error]:
        self._dead("event")
        return (OK,)

    def cudaStreamBeginCapture(self, stream: Any, mode: int) -> tuple[Error]:
        self.stream(stream).captured = []
        return (OK,)

    def cudaStreamEndCapture(self, stream: Any) -> tuple[Any, ...]:
        work, self.stream(stream).captured = self.stream(stream).captured, None
        if not self.capturable:
            return Error.cudaErrorStreamCaptureUnsupported, None
        self._born("template")
        return OK, work

    def cudaGraphInstantiate(self, graph: list[Work], flags: int) -> tuple[Any, ...]:
        self._born("graph")
        return OK, list(graph)

    def cudaGraphLaunch(self, graph: list[Work], stream: Any) -> tuple[Error]:
        for work in graph:
            self.stream(stream).put(work)
        self.made["launch"] += 1
        return (OK,)

    def cudaGraphDestroy(self, graph: list[Work]) -> tuple[Error]:
        graph.clear()
        self._dead("template")
        return (OK,)

    def cudaGraphExecDestroy(self, graph: list[Work]) -> tuple[Error]:
        graph.clear()
        self._dead("graph")
        return (OK,)
