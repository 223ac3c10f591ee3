"""A stand-in for the builder's half of TensorRT, under the vendor's names: it keeps what it is told."""

from __future__ import annotations

import enum
import types
from typing import Any

from tests.backends.fake_tensorrt import ILogger, IProgressMonitor


class BuilderFlag(enum.Enum):
    GPU_FALLBACK = 1
    REFIT = 2
    TF32 = 3
    VERSION_COMPATIBLE = 4
    STRIP_PLAN = 5
    REFIT_IDENTICAL = 6


class ProfilingVerbosity(enum.Enum):
    DETAILED = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class DeviceType(enum.Enum):
    GPU = 0
    DLA = 1


class LevelsOf10(enum.Enum):
    """``HardwareCompatibilityLevel`` of 10.3."""

    NONE = 0
    AMPERE_PLUS = 1


class LevelsOf11(enum.Enum):
    """``HardwareCompatibilityLevel`` of 11.4."""

    NONE = 0
    AMPERE_PLUS = 1
    SAME_COMPUTE_CAPABILITY = 2


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def serialize(self) -> bytes:
        return self._content + b"+"


class INetworkDefinition:
    """``layers`` layers, of which the DLA can run those with even numbers."""

    def __init__(self, layers: int) -> None:
        self.num_layers = layers

    def get_layer(self, index: int) -> int:
        return index


class IBuilderConfig:
    builder_optimization_level = 3

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._flags = {BuilderFlag.TF32}
        self._workspace = 64 << 30
        self.default_device_type = DeviceType.GPU
        self.DLA_core = -1
        self.hardware_compatibility_level: Any = None
        self.profiling_verbosity: Any = None
        self.progress_monitor: Any = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.remove(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self._workspace = pool_size

    def get_memory_pool_limit(self, pool: MemoryPoolType) -> int:
        return self._workspace

    def can_run_on_DLA(self, layer: int) -> bool:  # noqa: N802  # the vendor's name
        return layer % 2 == 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        """An empty cache and a warning where the bytes cannot be read, as TensorRT does it."""
        if serialized_timing_cache and not serialized_timing_cache.startswith(b"cache"):
            self._builder._messages.add(
                "WARNING", "Failed to deserialize timing cache. Returning an empty timing cache."
            )
            serialized_timing_cache = b""
        return ITimingCache(serialized_timing_cache or b"cache of this GPU")

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        return ignore_mismatch or b"of this GPU" in cache._content


class Builder:
    def __init__(self, messages: Any, cores: int) -> None:
        self._messages, self.num_DLA_cores = messages, cores

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self)


def fake_builder_library(version: str) -> Any:
    """The module of one version."""
    return types.SimpleNamespace(
        __version__=version,
        BuilderFlag=BuilderFlag,
        ProfilingVerbosity=ProfilingVerbosity,
        MemoryPoolType=MemoryPoolType,
        DeviceType=DeviceType,
        HardwareCompatibilityLevel=LevelsOf10 if version.startswith("10") else LevelsOf11,
        ILogger=ILogger,
        IProgressMonitor=IProgressMonitor,
    )
