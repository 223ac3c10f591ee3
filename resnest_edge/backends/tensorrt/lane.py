"""One inference in flight: a CUDA stream with an execution context, buffers, events and a graph of its own.

A lane is used by one thread at a time, inside :meth:`Cuda.current`. Nothing of it is shared but the engine.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.base import Outputs
from resnest_edge.backends.cuda import Cuda, Resource
from resnest_edge.backends.tensorrt.build import input_shape
from resnest_edge.backends.tensorrt.device_array import DeviceArray
from resnest_edge.backends.tensorrt.engine import INPUT, OUTPUTS, Engine
from resnest_edge.errors import UnavailableError
from resnest_edge.spec import GraphInfo, InputFormat


@dataclass(frozen=True)
class Clocks:
    """How long the parts of one inference took, in milliseconds.

    Attributes:
        h2d_ms: copy to the device; None where the images lay there already.
        gpu_ms: from the first kernel to the last.
        d2h_ms: copies from the device.
        enqueue_ms: the host's time to start the kernels.
    """

    h2d_ms: float | None
    gpu_ms: float
    d2h_ms: float
    enqueue_ms: float


class Lane:
    """Makes everything that one stream needs, runs once to warm up, and captures a graph where that is possible.

    Args:
        cuda: the CUDA library.
        engine: the loaded engine.
        info: what the engine is.
        batch: images per inference.

    Raises:
        UnavailableError: there is not enough memory, or the GPU failed; everything made so far is freed.
        BundleMisfitError: the engine does not take the batch.
    """

    def __init__(self, cuda: Cuda, engine: Engine, info: GraphInfo, batch: int) -> None:
        self._cuda, self._engine = cuda, engine
        with contextlib.ExitStack() as stack:
            self._stack = stack
            self.stream = self._keep(cuda.stream())
            self._events = [self._keep(cuda.event()) for _ in range(4)]
            self._context: Any = engine.context(batch, self.stream.address)
            stack.callback(self._drop_context)
            cuda.wait(self.stream)
            dtype = np.uint8 if info.input_format is InputFormat.UINT8_NHWC else np.float32
            self._input = self._buffers(INPUT, input_shape(info, batch), dtype)
            self._outputs = [self._buffers(name, (batch, info.num_classes), np.float32) for name in OUTPUTS]
            self._graph: Resource | None = None
            self.no_graph: str | None = None
            self._warm_up()
            self._stack = stack.pop_all()

    def _keep(self, resource: Resource) -> Resource:
        self._stack.callback(self._cuda.free, resource)
        return resource

    def _drop_context(self) -> None:
        self._context = None

    def _buffers(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> tuple[Resource, Resource]:
        """Pinned host memory and device memory for one tensor, which the context is told of."""
        host = self._keep(self._cuda.pin(shape, dtype))
        host.held.fill(0)
        device = self._keep(self._cuda.allocate(host.held.nbytes))
        self._point(name, device.address)
        return host, device

    def _point(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise self._failure(f"does not take the memory of its {name}")

    def _warm_up(self) -> None:
        """Run once, since a capture must not meet what a first run prepares; then capture."""
        cuda, stream = self._cuda, self.stream
        cuda.copy_in(self._input[1], self._input[0], stream)
        self._enqueue()
        cuda.wait(stream)
        if not cuda.captures:
            self.no_graph = f"{cuda.binding} has no CUDA graphs"
        elif not self._engine.capturable(self._context, stream.address):
            self.no_graph = f"{self._engine.product} does not allow it for this engine"
        else:
            try:
                self._graph = self._keep(cuda.capture(stream, self._enqueue))
            except UnavailableError as exc:  # operations that cannot be captured
                self.no_graph = exc.what

    def infer(self, images: npt.NDArray[Any] | DeviceArray) -> tuple[Outputs, Clocks]:
        """Answer one batch; blocks until it is done.

        Args:
            images: of the engine's shape and type; checked by the caller.

        Raises:
            UnavailableError: the GPU or the runtime failed.
        """
        cuda, stream, (start, copied, computed, done) = self._cuda, self.stream, self._events
        on_device = isinstance(images, DeviceArray)
        try:
            if isinstance(images, DeviceArray):
                self._take(images)
                cuda.record(start, stream)
            else:
                np.copyto(self._input[0].held, images)
                cuda.record(start, stream)
                cuda.copy_in(self._input[1], self._input[0], stream)
            cuda.record(copied, stream)
            began = perf_counter()
            self._start(captured=not on_device)
            enqueue_ms = 1000.0 * (perf_counter() - began)
            cuda.record(computed, stream)
            for host, device in self._outputs:
                cuda.copy_out(host, device, stream)
            cuda.record(done, stream)
        finally:  # also after a failure: the next batch finds the buffers free and in place
            cuda.wait(stream)
            if on_device:
                self._point(INPUT, self._input[1].address)
        answer = Outputs(*(host.held.copy() for host, _ in self._outputs))
        h2d_ms = None if on_device else cuda.elapsed_ms(start, copied)
        return answer, Clocks(h2d_ms, cuda.elapsed_ms(copied, computed), cuda.elapsed_ms(computed, done), enqueue_ms)

    def _take(self, images: DeviceArray) -> None:
        """Read somebody else's memory instead of our own, once what fills it is done."""
        if images.follow is not None:
            self._cuda.follow(self.stream, images.follow)
        self._point(INPUT, images.address)

    def _start(self, *, captured: bool) -> None:
        """Start the kernels; a captured graph reads our own memory only."""
        if captured and self._graph is not None:
            self._cuda.launch(self._graph, self.stream)
        else:
            self._enqueue()

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self.stream.address):
            raise self._failure("could not start an inference")

    def _failure(self, what: str) -> UnavailableError:
        return UnavailableError(f"{self._engine.product} {what} ({self._engine.messages.reason()})")

    def close(self) -> None:
        """Wait for the stream and free everything. A second call does nothing."""
        if self._context is not None:
            self._cuda.wait(self.stream)
        self._stack.close()
