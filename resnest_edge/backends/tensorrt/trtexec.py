"""The `trtexec` command lines that build the same engine and repeat its figures, and trtexec's own warnings.

What 10, 11 and RTX call their flags is data. In TensorRT 11 strong typing is the only way, and CUDA graphs, spinning
and leaving the copies out became defaults (NVIDIA, "Migrating trtexec Usage from TensorRT 10.x to 11.x"), so there the
flags that turn those off are given, and in 10 the ones that turn them on.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from resnest_edge.spec import GraphInfo, InputFormat, Target

ENQUEUE_BOUND = 0.8
"""Median enqueue time over median GPU time from which the host counts as what limits an engine: trtexec's threshold."""


@dataclass(frozen=True)
class Dialect:
    """The flags of one tool.

    Attributes:
        tool: name of the program.
        build: flags of every build; None where this package gives no command to build with.
        run: flags of every measurement: it spins while it waits, and copies inputs and outputs as a session does.
        graph: flag of a measurement with a CUDA graph; empty where that is the default.
        no_graph: flag of a measurement without; empty where that is the default.
    """

    tool: str
    build: tuple[str, ...] | None
    run: tuple[str, ...]
    graph: str
    no_graph: str


_TEN = Dialect("trtexec", ("--stronglyTyped", "--noTF32"), ("--useSpinWait",), "--useCudaGraph", "")
_ELEVEN = Dialect("trtexec", ("--noTF32",), ("--includeDataTransfers",), "", "--noCudaGraph")
# NVIDIA, "TensorRT-RTX, Performance Benchmarking": copies left out, spinning and a graph of its own are its defaults.
_RTX = Dialect("tensorrt_rtx", None, ("--includeDataTransfers",), "", "--rtxCudaGraphStrategy=disable")

_OPTIONS: dict[str, dict[Any, tuple[str, ...]]] = {
    "version_compatible": {True: ("--versionCompatible",)},
    "refittable": {True: ("--refit",)},
    "stripped": {True: ("--stripWeights",)},
    "hardware_compatibility": {
        "ampere-plus": ("--hardwareCompatibilityLevel=ampere+",),
        "same-compute-capability": ("--hardwareCompatibilityLevel=sameComputeCapability",),
    },
}


def dialect(target: Target, version: str | None) -> Dialect:
    """The flags of the tool that comes with a runtime.

    Args:
        target: ``tensorrt`` or ``tensorrt-rtx``.
        version: of the runtime, such as ``10.3.0``; None for one that is not known, which is taken for the newest.
    """
    if target is Target.TENSORRT_RTX:
        return _RTX
    major = 11 if version is None else int(version.partition(".")[0])
    return _TEN if major < 11 else _ELEVEN


def run_command(
    flags: Dialect, engine: str, info: GraphInfo, *, batch: int, streams: int = 1, cuda_graph: bool = True
) -> str:
    """The command that measures an engine as a session does, for a shell in the bundle's folder or given its path.

    Args:
        flags: of :func:`dialect`.
        engine: path of the engine file.
        info: what the engine is.
        batch: images per inference.
        streams: inferences in flight.
        cuda_graph: whether the session replays a CUDA graph.
    """
    shapes = () if info.batch.fixed else (f"--shapes=images:{_shape(info, batch)}",)
    several = (f"--infStreams={streams}",) if streams > 1 else ()
    graph = flags.graph if cuda_graph else flags.no_graph
    words = (flags.tool, f"--loadEngine={engine}", *shapes, *several, *flags.run, graph)
    return shlex.join(word for word in words if word)


def build_command(flags: Dialect, graph: str, engine: str, info: GraphInfo, details: Mapping[str, Any]) -> str | None:
    """The command that builds an engine from the typed graph as this package does, or None where there is none.

    Args:
        flags: of :func:`dialect`.
        graph: path of the typed graph.
        engine: path to write.
        info: what the graph is.
        details: the manifest's account of the build: its settings and options.
    """
    if flags.build is None:
        return None
    batch = info.batch
    bounds = (("min", batch.minimum), ("opt", batch.optimum), ("max", batch.maximum))
    shapes = () if batch.fixed else tuple(f"--{word}Shapes=images:{_shape(info, size)}" for word, size in bounds)
    words = (flags.tool, f"--onnx={graph}", f"--saveEngine={engine}", *flags.build, *shapes, *_settings(details))
    return shlex.join((*words, "--profilingVerbosity=detailed", "--skipInference"))


def _settings(details: Mapping[str, Any]) -> Iterator[str]:
    if details.get("workspace_mib"):
        yield f"--memPoolSize=workspace:{details['workspace_mib']}M"
    if (level := details.get("optimization_level")) is not None:
        yield f"--builderOptimizationLevel={level}"
    if (core := details.get("dla_core")) is not None:
        yield from (f"--useDLACore={core}", "--allowGPUFallback")
    for name, flags in _OPTIONS.items():
        yield from flags.get(details.get(name), ())


def timing_warnings(timings_ms: Mapping[str, float]) -> list[str]:
    """What trtexec would say of a session's clocks, as sentences without a final full stop.

    Args:
        timings_ms: medians: ``enqueue_ms`` (the host's time to start one inference), ``gpu_ms`` (from its first kernel
            to its last), ``h2d_ms`` and ``d2h_ms`` (copies in and out); those not measured are left out.
    """
    enqueue, gpu = timings_ms.get("enqueue_ms"), timings_ms.get("gpu_ms")
    if not gpu:
        return []
    found = []
    if enqueue is not None and enqueue > ENQUEUE_BOUND * gpu:
        found.append(
            f"Bound by the host: starting an inference takes {enqueue:.3f} ms, the GPU {gpu:.3f} ms; "
            "a larger batch, more streams or a CUDA graph would use the GPU better"
        )
    copies = [(timings_ms[key], word) for key, word in (("h2d_ms", "in"), ("d2h_ms", "out")) if key in timings_ms]
    longest, direction = max(copies, default=(0.0, ""))
    if longest >= gpu:
        found.append(
            f"Bound by the bus: copying {direction} takes {longest:.3f} ms, the GPU {gpu:.3f} ms; "
            "arrays that lie on the device already need no copy"
        )
    return found


def _shape(info: GraphInfo, batch: int) -> str:
    side = info.image_size
    sides = (side, side, 3) if info.input_format is InputFormat.UINT8_NHWC else (3, side, side)
    return "x".join(map(str, (batch, *sides)))
