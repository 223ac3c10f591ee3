"""What differs between TensorRT 10, TensorRT 11 and TensorRT for RTX, as data.

Building needs no row for TensorRT 10 against 11: a strongly typed network with explicit Q/DQ is the one way that both
take, and every name that this adapter touches is in the bindings of 10.3 and of 11.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from resnest_edge.spec import Precision, Target


@dataclass(frozen=True)
class DlaSupport:
    """Versions, from ``first`` to ``last``, that build for the DLA, and the precisions that run there."""

    first: tuple[int, int]
    last: tuple[int, int]
    precisions: tuple[Precision, ...]


@dataclass(frozen=True)
class Flavour:
    """One product of the TensorRT family.

    Attributes:
        target: the target it is.
        module: name of its Python module.
        product: its name, for messages.
        extra: the extra of resnest-edge that installs it.
        majors: major versions that this adapter is written for.
        engine: name of the engine file.
        names_gpus: whether a build names the GPUs it is for, and needs none; else it is for the GPU it runs on.
        compiles_on_load: whether kernels are compiled when an engine is loaded, and may be chosen later still.
        dla: which versions build for the DLA.
        refused: fields of ``BuildOptions`` that it does not take, each with the reason.
        elsewhere: where it comes from when not from the extra, or an empty string.
    """

    target: Target
    module: str
    product: str
    extra: str
    majors: tuple[int, ...]
    engine: str
    names_gpus: bool
    compiles_on_load: bool
    dla: tuple[DlaSupport, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    elsewhere: str = ""


FLAVOURS = {
    Target.TENSORRT: Flavour(
        target=Target.TENSORRT,
        module="tensorrt",
        product="TensorRT",
        extra="tensorrt",
        majors=(10, 11),
        engine="engine.plan",
        names_gpus=False,
        compiles_on_load=False,
        # TensorRT's pages "Working with DLA" and "Strongly Typed Networks for DLA" (11.4.1); before 11 the DLA takes
        # implicit quantization only (NVIDIA Model-Optimizer pull request 1661), so no Q/DQ.
        dla=(
            DlaSupport((10, 0), (10, 7), (Precision.FP16,)),
            DlaSupport((11, 4), (11, 99), (Precision.FP16, Precision.INT8)),
        ),
        refused={"compute_capabilities": "it builds for the GPU it runs on"},
        elsewhere=" On a Jetson it comes with JetPack: make the environment with --system-site-packages.",
    ),
    Target.TENSORRT_RTX: Flavour(
        target=Target.TENSORRT_RTX,
        module="tensorrt_rtx",
        product="TensorRT for RTX",
        extra="rtx",
        majors=(1,),
        engine="engine.rtx",
        names_gpus=True,
        compiles_on_load=True,
        # What 1.7.1 itself answers: a deprecation ("timing cache operations are no-ops"), a missing libnvinfer_lean,
        # a warning ("setHardwareCompatibilityLevel() is unsupported"), and no DLA cores.
        refused={
            "timing_cache": "it times no tactics when it builds, and with a cache it would not build without a GPU",
            "version_compatible": "its engines run on the release that built them, and on no other",
            "hardware_compatibility": "its engines are for the GPUs that --compute-capability names",
            "dla_core": "it runs on RTX GPUs, which have no DLA",
        },
    ),
}
