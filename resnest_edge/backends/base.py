"""The seam every runtime stands behind: ``build(typed graph) → engine files``, ``load(engine) → Session``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from resnest_edge.errors import InputError, UsageError
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import GraphInfo, InputFormat, Precision, Target


class Outputs(NamedTuple):
    """What an engine answers for N images: two float32 arrays of shape (N, num_classes)."""

    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]


@dataclass(frozen=True)
class BuildOptions:
    """What a build may be told beyond the graph. Settings a target does not have are refused by its backend.

    Attributes:
        compute_capabilities: RTX only: GPUs to build for, such as ``("8.9", "12.0")``; empty means those the runtime
            builds for by itself.
        workspace_mib: TensorRT only: scratch memory a layer may use; None leaves the runtime's default.
        optimization_level: TensorRT only: 0 to 5; None leaves the runtime's default.
        timing_cache: TensorRT only: a file of measured tactics, read where it exists and written after the build.
        version_compatible: TensorRT only: an engine that later versions run too. It carries host code of its own.
        hardware_compatibility: TensorRT only: ``ampere-plus`` or ``same-compute-capability``.
        dla_core: TensorRT only: the DLA core to build for; layers it cannot run fall back to the GPU.
        refittable: TensorRT only: an engine whose weights can be replaced.
        stripped: TensorRT only: an engine without weights; loading takes them from the bundle's graph.
        progress: told of each step as (stage, done, total); None tells nobody.
    """

    compute_capabilities: tuple[str, ...] = ()
    workspace_mib: int | None = None
    optimization_level: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatibility: str | None = None
    dla_core: int | None = None
    refittable: bool = False
    stripped: bool = False
    progress: Callable[[str, int, int | None], None] | None = field(default=None, compare=False, repr=False)


_FLAGS = {"compute_capabilities": "--compute-capability", "workspace_mib": "--workspace"}


def given_options(options: BuildOptions) -> dict[str, str]:
    """The fields of ``options`` that were set, each with the command line's word for it."""
    found = (option for option in fields(options) if option.compare and getattr(options, option.name) != option.default)
    return {option.name: _FLAGS.get(option.name, "--" + option.name.replace("_", "-")) for option in found}


@dataclass(frozen=True)
class BuiltEngine:
    """What a build left in its output folder.

    Attributes:
        files: names of the engine's files, relative to the folder; the first is the one to load.
        precision_run: the precision that the engine's convolutions really run in, read back from the runtime.
        details: the runtime's own account (settings, convolutions per precision), for the manifest.
    """

    files: tuple[str, ...]
    precision_run: Precision
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SessionOptions:
    """How a session runs.

    Attributes:
        batch: images per inference; dynamic engines are specialised to it.
        streams: inferences in flight at once.
        threads: CPU threads in all; None means every core this process may use.
    """

    batch: int = 1
    streams: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        if min(self.batch, self.streams, self.threads or 1) < 1:
            raise UsageError("batch, streams and threads must each be at least 1")


class Session(ABC):
    """A loaded engine. Thread-safe: ``submit`` and ``run`` may be called from several threads at once."""

    def __init__(self, info: GraphInfo, options: SessionOptions) -> None:
        self.info = info
        self.options = options

    @abstractmethod
    def submit(self, images: npt.NDArray[Any]) -> Future[Outputs]:
        """Start one inference of exactly ``options.batch`` images, and return its future.

        Args:
            images: (batch, S, S, 3) uint8 RGB, or (batch, 3, S, S) float32 in [0, 255], as ``info.input_format``.

        Blocks while ``options.streams`` inferences are in flight already. The caller leaves ``images`` as it is until
        the future is done.
        """

    @abstractmethod
    def timings(self) -> dict[str, float]:
        """Medians of the runtime's own clocks since loading, in milliseconds, under the runtime's names."""

    @abstractmethod
    def effective_settings(self) -> dict[str, Any]:
        """Settings the runtime reports after loading (threads, streams, precision hint …), not the ones asked for."""

    @abstractmethod
    def close(self) -> None:
        """Wait for what is in flight and free the engine. A second call does nothing."""

    def run(self, images: npt.NDArray[Any]) -> Outputs:
        """Answer any number of images: cut into batches, the last one padded, the padding's answers dropped.

        Raises:
            InputError: the array is empty, or its shape or type is not what the engine takes.
        """
        self._check(images)
        size = self.options.batch
        futures = []
        for start in range(0, len(images), size):
            chunk = images[start : start + size]
            if len(chunk) < size:
                padding = np.repeat(chunk[-1:], size - len(chunk), axis=0)
                chunk = np.concatenate([chunk, padding])
            futures.append(self.submit(chunk))
        answers = [future.result() for future in futures]
        logits = np.concatenate([answer.logits for answer in answers])[: len(images)]
        probabilities = np.concatenate([answer.probabilities for answer in answers])[: len(images)]
        return Outputs(logits, probabilities)

    def _check(self, images: npt.NDArray[Any]) -> None:
        side = self.info.image_size
        uint8 = self.info.input_format is InputFormat.UINT8_NHWC
        shape = (side, side, 3) if uint8 else (3, side, side)
        dtype = np.dtype(np.uint8 if uint8 else np.float32)
        if images.ndim != 4 or len(images) == 0 or images.shape[1:] != shape or images.dtype != dtype:
            raise InputError(
                f"this engine takes (N, {', '.join(map(str, shape))}) {dtype} with N >= 1, "
                f"not {images.shape} {images.dtype}"
            )

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Backend(ABC):
    """One runtime. Constructing a backend imports nothing; its methods do, and map what fails.

    Raises (from every method that needs the runtime):
        UnavailableError: the runtime is not installed, naming the extra that installs it, or has no device.
    """

    target: ClassVar[Target]

    @abstractmethod
    def version(self) -> str:
        """Version of the installed runtime."""

    @abstractmethod
    def check(self, precision: Precision) -> None:
        """Refuse a precision this runtime cannot run, before any work is done.

        Raises:
            UsageError: with the reason and what to use instead.
        """

    def check_options(self, options: BuildOptions) -> None:
        """Refuse build options this runtime does not take, before any work is done; by default it takes none.

        Raises:
            UsageError: naming them.
        """
        if given := given_options(options):
            raise UsageError(
                f"{self.target} does not take {', '.join(given.values())}: only TensorRT does",
                hint="Leave that out, or give --target tensorrt or tensorrt-rtx.",
            )

    @abstractmethod
    def int8_placement(self) -> Placement:
        """What this runtime, on this machine, wants quantized."""

    @abstractmethod
    def build(self, graph: Path, info: GraphInfo, options: BuildOptions, out: Path) -> BuiltEngine:
        """Build the typed graph into engine files inside the existing folder ``out``.

        Raises:
            UsageError: the graph's precision or Q/DQ style, or an option, is not for this runtime.
            GraphError: the runtime cannot parse or build the graph; the message names operator and node.
        """

    @abstractmethod
    def load(
        self, engine: Path, info: GraphInfo, options: SessionOptions, built: Mapping[str, Any] | None = None
    ) -> Session:
        """Load the engine file ``engine`` (the first of :attr:`BuiltEngine.files`).

        Args:
            engine: in the folder that it was built in.
            info: what it was built from.
            options: how to run it.
            built: :attr:`BuiltEngine.details` of its build, where they are known.

        Raises:
            BundleMisfitError: the engine was built for another version or device, saying which differs.
            UsageError: the batch size is outside ``info.batch``.
        """


def check_batch(info: GraphInfo, options: SessionOptions) -> None:
    """Refuse a session batch outside what the engine was built for.

    Raises:
        UsageError: with the range the engine accepts.
    """
    if not info.batch.minimum <= options.batch <= info.batch.maximum:
        raise UsageError(
            f"batch {options.batch} is outside what this engine was built for ({info.batch})",
            hint="Use a batch in that range, or build with another --batch.",
        )
