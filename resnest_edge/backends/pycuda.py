"""PyCUDA behind the words of ``backends/cuda.py``: the CUDA driver API, without graphs, which PyCUDA does not have."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy.typing as npt

from resnest_edge.backends.cuda import Cuda, Device, Resource, failure, version_text
from resnest_edge.errors import UnavailableError

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING of cuda.h


class PyCuda(Cuda):
    """PyCUDA (2024.1 or newer), in the GPU's primary context."""

    binding = "PyCUDA"
    captures = False

    def __init__(self) -> None:
        self._driver: Any = importlib.import_module("pycuda.driver")
        with self._mapped("init"):
            self._driver.init()
            if not self._driver.Device.count():
                raise UnavailableError("CUDA finds no GPU here", hint="Check it with nvidia-smi.")
            self._device = self._driver.Device(0)
            self._context = self._device.retain_primary_context()

    @contextlib.contextmanager
    def _mapped(self, function: str) -> Iterator[None]:
        """Say PyCUDA's errors in our words; its text is ``cuInit failed: no CUDA-capable device is detected``."""
        try:
            yield
        except self._driver.Error as exc:
            text = str(exc)
            missing = function == "init" or "no CUDA-capable device" in text
            kinds = {"MemoryError": "MemoryAllocation"}
            word = "NoDevice" if missing else kinds.get(type(exc).__name__, type(exc).__name__)
            raise failure(function, word, text) from exc

    def device(self) -> Device:
        with self._mapped("device"):
            device = self._device
            return Device(
                name=str(device.name()),
                compute_capability=".".join(map(str, device.compute_capability())),
                cuda=version_text(int(self._driver.get_driver_version())),
                memory_mib=int(device.total_memory()) >> 20,
            )

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        with self._mapped("push"):
            self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def allocate(self, size: int) -> Resource:
        with self._mapped("mem_alloc"):
            held = self._driver.mem_alloc(size)
        return Resource("memory", int(held), held)

    def pin(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Resource:
        with self._mapped("pagelocked_empty"):
            held = self._driver.pagelocked_empty(shape, dtype)
        return Resource("pinned", int(held.ctypes.data), held)

    def stream(self) -> Resource:
        with self._mapped("Stream"):
            held = self._driver.Stream(_NON_BLOCKING)
        return Resource("stream", int(held.handle), held)

    def event(self) -> Resource:
        with self._mapped("Event"):
            return Resource("event", 0, self._driver.Event())

    def copy_in(self, to: Resource, source: Resource, stream: Resource) -> None:
        with self._mapped("memcpy_htod_async"):
            self._driver.memcpy_htod_async(to.address, source.held, stream.held)

    def copy_out(self, to: Resource, source: Resource, stream: Resource) -> None:
        with self._mapped("memcpy_dtoh_async"):
            self._driver.memcpy_dtoh_async(to.held, source.address, stream.held)

    def record(self, event: Resource, stream: Resource) -> None:
        with self._mapped("record"):
            event.held.record(stream.held)

    def wait(self, stream: Resource) -> None:
        with self._mapped("synchronize"):
            stream.held.synchronize()

    def follow(self, stream: Resource, other: int) -> None:  # noqa: ARG002  # PyCUDA takes no handle of others
        with self._mapped("synchronize"):
            self._driver.Context.synchronize()

    def elapsed_ms(self, start: Resource, end: Resource) -> float:
        with self._mapped("time_since"):
            return float(end.held.time_since(start.held))

    def capture(self, stream: Resource, work: Callable[[], None]) -> Resource:  # noqa: ARG002
        raise UnavailableError("PyCUDA has no CUDA graphs", hint="Install cuda-python instead of it.")

    def launch(self, graph: Resource, stream: Resource) -> None:  # noqa: ARG002
        raise UnavailableError("PyCUDA has no CUDA graphs", hint="Install cuda-python instead of it.")

    def free(self, resource: Resource) -> None:
        with self._mapped("free"):
            if resource.kind == "memory":
                resource.held.free()
            elif resource.kind == "pinned":
                resource.held.base.free()
            resource.held = None  # streams and events go with their objects
