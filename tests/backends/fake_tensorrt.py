"""A stand-in for TensorRT's module that computes something simple on a fake GPU's streams.

An engine answers ``logits[n, c] = mean(images[n]) · (c + 1)`` and their softmax. Classes and members have the vendor's
names; ``test_fakes.py`` holds them to those that the adapter touches, which the real bindings are checked for.
"""

from __future__ import annotations

import ctypes
import enum
import json
import types
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.backends.fake_cuda import FakeRuntime

NAMES = ("images", "logits", "probabilities")


class DataType(enum.Enum):
    FLOAT = 0
    UINT8 = 1


class Severity(enum.Enum):
    ERROR = 1
    WARNING = 2


class ILogger:
    def log(self, severity: Any, msg: str) -> None: ...


class IProgressMonitor: ...


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY = 0
    EAGER = 1


def plan(
    shape: list[int], classes: int, sizes: tuple[int, ...] = (), *, weights: bool = True, name: str = "logits"
) -> bytes:
    """The bytes of an engine.

    Args:
        shape: of its input, -1 where the batch is open.
        classes: length of its answers.
        sizes: smallest, best and largest batch of an open one.
        weights: False for a stripped one.
        name: of its first output.
    """
    return json.dumps({"shape": shape, "classes": classes, "sizes": sizes, "weights": weights, "name": name}).encode()


def answers(images: npt.NDArray[Any], classes: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What an engine answers."""
    means = images.reshape(len(images), -1).astype(np.float32).mean(axis=1, dtype=np.float32)
    logits = np.outer(means, np.arange(1, classes + 1)).astype(np.float32)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits, (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


class IRuntimeConfig:
    dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine, self._addresses, self._batch = engine, dict[str, int](), engine._shape[0]
        self._stream: int | None = None

    def _shape(self, name: str) -> tuple[int, ...]:
        rest = self._engine._shape[1:] if name == "images" else [self._engine._classes]
        return (self._batch, *rest)

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        return profile_index == 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self._engine._sizes
        self._batch = shape[0]
        return name == "images" and smallest <= shape[0] <= largest

    def infer_shapes(self) -> list[str]:
        return ["images"] if self._batch < 0 else []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shape(name)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory % 16 == 0

    def is_stream_capturable(self, stream: int) -> bool:
        return bool(self._engine._library.capturable)

    def execute_async_v3(self, stream_handle: int) -> bool:
        library = self._engine._library
        assert self._stream in (None, stream_handle), "one context, one stream"
        self._stream = stream_handle
        library.executions += 1
        if library.failing:
            library.say("ERROR", "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (an illegal memory access)")
            return False
        addresses, dtype = dict(self._addresses), self._engine._dtype
        library.runtime.stream(stream_handle).put(lambda: self._compute(addresses, dtype))
        return True

    def _compute(self, addresses: dict[str, int], dtype: type) -> None:
        images = _view(addresses["images"], self._shape("images"), dtype)
        for name, values in zip(NAMES[1:], answers(images, self._engine._classes), strict=True):
            _view(addresses[name], self._shape(name), np.float32)[:] = values


class ICudaEngine:
    device_memory_size_v2 = 3 << 20
    num_aux_streams = 0
    num_io_tensors = len(NAMES)

    def __init__(self, library: Any, value: dict[str, Any]) -> None:
        self._library = library
        self._shape, self._classes, self._sizes = value["shape"], value["classes"], value["sizes"]
        self._weights, self._dtype = value["weights"], np.uint8 if value["shape"][-1] == 3 else np.float32
        self._names = ("images", value["name"], "probabilities")

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.UINT8 if name == "images" and self._dtype is np.uint8 else DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._shape)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [(size, *self._shape[1:]) for size in self._sizes]

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig()

    def create_execution_context(self, runtime_config: IRuntimeConfig | None = None) -> IExecutionContext | None:
        assert self._weights, "a stripped engine has to be refitted first"
        self._library.runtime_configs.append(runtime_config)
        if self._library.no_context:
            self._library.say("ERROR", "out of memory")
            return None
        context = IExecutionContext(self)
        self._library.contexts.add(context)
        return context


class Runtime:
    engine_host_code_allowed = False

    def __init__(self, logger: Any) -> None:
        library = logger.library
        library.logger = logger
        if library.no_driver:
            library.say("ERROR", "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        library.runtimes.append(self)
        self._library = library

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            value = json.loads(serialized_engine)
        except ValueError:
            self._library.say(
                "ERROR", "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magicTag differs)"
            )
            return None
        engine = ICudaEngine(self._library, value)
        self._library.engines.add(engine)
        return engine


class Refitter:
    def __init__(self, engine: ICudaEngine, logger: Any) -> None:
        self._engine, self._full = engine, False

    def refit_cuda_engine(self) -> bool:
        self._engine._weights = self._full
        return self._full

    def get_missing_weights(self) -> list[str]:
        return [] if self._full else ["stem.conv1.weight"]


class OnnxParserRefitter:
    def __init__(self, refitter: Refitter, logger: Any) -> None:
        self._refitter = refitter

    def refit_from_bytes(self, model: bytes) -> bool:
        self._refitter._full = model == b"the graph"
        return self._refitter._full


def fake_library(runtime: FakeRuntime, version: str = "10.3.0") -> Any:
    """The module, with switches: ``no_driver``, ``no_context``, ``failing``, ``capturable``."""
    library = types.ModuleType("fake_tensorrt")

    class Logger(ILogger):
        def __init__(self) -> None:
            self.library = library

    def say(severity: str, text: str) -> None:
        library.logger.log(Severity[severity], text)

    vars(library).update(
        __version__=version,
        ILogger=Logger,
        IProgressMonitor=IProgressMonitor,
        Runtime=Runtime,
        Refitter=Refitter,
        OnnxParserRefitter=OnnxParserRefitter,
        DynamicShapesKernelSpecializationStrategy=DynamicShapesKernelSpecializationStrategy,
        runtime=runtime,
        say=say,
        no_driver=False,
        no_context=False,
        failing=False,
        capturable=True,
        executions=0,
        runtimes=[],
        runtime_configs=[],
        contexts=weakref.WeakSet[IExecutionContext](),
        engines=weakref.WeakSet[ICudaEngine](),
    )
    return library


def write_plan(folder: Path, data: bytes, name: str = "engine.plan") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _view(address: int, shape: tuple[int, ...], dtype: type) -> npt.NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype).reshape(shape)
