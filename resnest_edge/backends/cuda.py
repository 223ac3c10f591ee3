"""CUDA in the few words that a session needs, over cuda-python or PyCUDA; nothing is imported until it is asked for.

One GPU: the first that CUDA shows (``CUDA_VISIBLE_DEVICES`` chooses). Its primary context, which TensorRT and PyTorch
use too, is shared by all threads; with PyCUDA a thread has to make it current, which :meth:`Cuda.current` does.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from resnest_edge.errors import UnavailableError

_HINT = "Install one with: pip install 'resnest-edge[cuda]' (or 'resnest-edge[pycuda]', which compiles)."
_NO_DRIVER = ("InsufficientDriver", "NoDevice", "InitializationError", "DriverMismatch", "SystemNotReady", "Stub")


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes:
        name: the vendor's name of it.
        compute_capability: such as ``8.7``.
        cuda: newest CUDA version that its driver runs, such as ``12.6``.
        memory_mib: its memory.
    """

    name: str
    compute_capability: str
    cuda: str
    memory_mib: int


@dataclass(eq=False)
class Resource:
    """Something that CUDA gave and takes back through :meth:`Cuda.free`.

    Attributes:
        kind: ``memory``, ``pinned``, ``stream``, ``event`` or ``graph``.
        address: of device memory, or of pinned host memory; a stream's handle; 0 for the others.
        held: the vendor's object; for pinned memory the array over it. None once it is freed.
    """

    kind: str
    address: int
    held: Any


class Cuda(ABC):
    """A CUDA library. Every method but :meth:`device` is called inside :meth:`current`.

    Raises (from every method):
        UnavailableError: the driver or the GPU is not here, or it failed; the message carries CUDA's own word.
    """

    binding: ClassVar[str]
    captures: ClassVar[bool]
    """Whether work can be captured into graphs."""

    @abstractmethod
    def device(self) -> Device:
        """The GPU in use."""

    @abstractmethod
    def current(self) -> contextlib.AbstractContextManager[None]:
        """Make the GPU's context current for the calling thread, for the length of a ``with`` block."""

    @abstractmethod
    def allocate(self, size: int) -> Resource:
        """Device memory of ``size`` bytes."""

    @abstractmethod
    def pin(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Resource:
        """Pinned host memory; ``held`` is an uninitialised array of that shape over it."""

    @abstractmethod
    def stream(self) -> Resource:
        """A stream that does not wait for the default stream."""

    @abstractmethod
    def event(self) -> Resource:
        """An event that takes the time."""

    @abstractmethod
    def copy_in(self, to: Resource, source: Resource, stream: Resource) -> None:
        """Start copying all of a pinned array into device memory."""

    @abstractmethod
    def copy_out(self, to: Resource, source: Resource, stream: Resource) -> None:
        """Start filling a pinned array from device memory."""

    @abstractmethod
    def record(self, event: Resource, stream: Resource) -> None:
        """Let the event happen when the stream has come this far."""

    @abstractmethod
    def wait(self, stream: Resource) -> None:
        """Block this thread until the stream is done with everything."""

    @abstractmethod
    def follow(self, stream: Resource, other: int) -> None:
        """Let the stream wait for what is in a stream of somebody else's, given by its handle."""

    @abstractmethod
    def elapsed_ms(self, start: Resource, end: Resource) -> float:
        """Milliseconds between two events that have happened."""

    @abstractmethod
    def capture(self, stream: Resource, work: Callable[[], None]) -> Resource:
        """Record what ``work`` puts into the stream as a graph, without running it.

        What ``work`` raises is raised here, after the capture has been ended.
        """

    @abstractmethod
    def launch(self, graph: Resource, stream: Resource) -> None:
        """Start a graph."""

    @abstractmethod
    def free(self, resource: Resource) -> None:
        """Give a resource back. Nothing may be using it."""


class CudaPython(Cuda):
    """NVIDIA's cuda-python (12.6 or newer): the CUDA runtime API."""

    binding = "cuda-python"
    captures = True

    def __init__(self) -> None:
        self._runtime: Any = importlib.import_module("cuda.bindings.runtime")
        if not self._call("cudaGetDeviceCount"):
            raise UnavailableError("CUDA finds no GPU here", hint="Check it with nvidia-smi.")
        self._call("cudaFree", 0)  # makes the primary context

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the runtime API; None, its one result, or all of them."""
        runtime = self._runtime
        error, *results = getattr(runtime, name)(*arguments)
        if error != runtime.cudaError_t.cudaSuccess:
            _, text = runtime.cudaGetErrorString(error)
            raise failure(name, str(error.name), text.decode(errors="replace"))
        return results[0] if len(results) == 1 else results or None

    def device(self) -> Device:
        index = self._call("cudaGetDevice")
        properties = self._call("cudaGetDeviceProperties", index)
        return Device(
            name=properties.name.decode().rstrip("\0"),
            compute_capability=f"{properties.major}.{properties.minor}",
            cuda=version_text(self._call("cudaDriverGetVersion")),
            memory_mib=properties.totalGlobalMem >> 20,
        )

    def current(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def allocate(self, size: int) -> Resource:
        address = int(self._call("cudaMalloc", size))
        return Resource("memory", address, None)

    def pin(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Resource:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = int(self._call("cudaMallocHost", size))
        view = (ctypes.c_uint8 * size).from_address(address)
        return Resource("pinned", address, np.ctypeslib.as_array(view).view(dtype).reshape(shape))

    def stream(self) -> Resource:
        held = self._call("cudaStreamCreateWithFlags", self._runtime.cudaStreamNonBlocking)
        return Resource("stream", int(held), held)

    def event(self) -> Resource:
        return Resource("event", 0, self._call("cudaEventCreate"))

    def copy_in(self, to: Resource, source: Resource, stream: Resource) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", to.address, source.address, source.held.nbytes, kind, stream.held)

    def copy_out(self, to: Resource, source: Resource, stream: Resource) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", to.address, source.address, to.held.nbytes, kind, stream.held)

    def record(self, event: Resource, stream: Resource) -> None:
        self._call("cudaEventRecord", event.held, stream.held)

    def wait(self, stream: Resource) -> None:
        self._call("cudaStreamSynchronize", stream.held)

    def follow(self, stream: Resource, other: int) -> None:
        event = self.event()
        try:
            self._call("cudaEventRecord", event.held, other)
            self._call("cudaStreamWaitEvent", stream.held, event.held, 0)
        finally:
            self.free(event)

    def elapsed_ms(self, start: Resource, end: Resource) -> float:
        return float(self._call("cudaEventElapsedTime", start.held, end.held))

    def capture(self, stream: Resource, work: Callable[[], None]) -> Resource:
        # thread-local: what other threads do meanwhile, such as allocating, does not break this capture
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream.held, mode)
        try:
            work()
        except BaseException:
            with contextlib.suppress(UnavailableError):  # a capture that failed says so again when it is ended
                self._call("cudaGraphDestroy", self._call("cudaStreamEndCapture", stream.held))
            raise
        graph = self._call("cudaStreamEndCapture", stream.held)
        try:
            return Resource("graph", 0, self._call("cudaGraphInstantiate", graph, 0))
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: Resource, stream: Resource) -> None:
        self._call("cudaGraphLaunch", graph.held, stream.held)

    def free(self, resource: Resource) -> None:
        release, argument = {
            "memory": ("cudaFree", resource.address),
            "pinned": ("cudaFreeHost", resource.address),
            "stream": ("cudaStreamDestroy", resource.held),
            "event": ("cudaEventDestroy", resource.held),
            "graph": ("cudaGraphExecDestroy", resource.held),
        }[resource.kind]
        self._call(release, argument)
        resource.held = None


def load_cuda() -> Cuda:
    """PyCUDA where it is installed, since who compiled it wants it; else cuda-python.

    Raises:
        UnavailableError: neither is installed, or there is no driver or GPU.
    """
    from resnest_edge.backends.pycuda import PyCuda

    for library, name in ((PyCuda, "pycuda"), (CudaPython, "cuda")):
        try:
            return library()
        except ModuleNotFoundError as exc:
            if (exc.name or "").partition(".")[0] != name:
                raise UnavailableError(f"{library.binding} is installed but does not load ({exc})") from exc
        except (ImportError, OSError) as exc:
            raise UnavailableError(f"{library.binding} is installed but does not load ({exc})") from exc
    raise UnavailableError("neither cuda-python nor PyCUDA is installed", hint=_HINT)


def version_text(number: int) -> str:
    """CUDA's ``12060`` as ``12.6``."""
    return f"{number // 1000}.{number % 1000 // 10}"


def failure(function: str, word: str, text: str) -> UnavailableError:
    """An error of CUDA's in our words.

    Args:
        function: what was called.
        word: name of the error, such as ``cudaErrorNoDevice``.
        text: its description.
    """
    if any(known in word for known in _NO_DRIVER):
        return UnavailableError(
            f"there is no usable NVIDIA driver or GPU here ({text})", hint="Check them with nvidia-smi."
        )
    hint = "Use a smaller batch or fewer streams." if "MemoryAllocation" in word else None
    return UnavailableError(f"CUDA failed in {function} ({word}: {text})", hint=hint)
