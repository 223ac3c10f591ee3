"""What differs between TensorRT and TensorRT for RTX, as data.

Building needs no row for TensorRT 10 against 11: a strongly typed network with explicit Q/DQ is the one way that both
take, and every name that this adapter touches is in the bindings of 10.3 and of 11.4.
"""

from __future__ import annotations

from dataclasses import dataclass

from resnest_edge.spec import Target


@dataclass(frozen=True)
class Flavour:
    """One product of the TensorRT family.

    Attributes:
        module: name of its Python module.
        product: its name, for messages.
        extra: the extra of resnest-edge that installs it.
        majors: major versions that this adapter is written for.
        engine: name of the engine file.
        names_gpus: whether a build may name the GPUs it is for; else it is for the GPU it runs on.
        elsewhere: where it comes from when not from the extra, or an empty string.
    """

    module: str
    product: str
    extra: str
    majors: tuple[int, ...]
    engine: str
    names_gpus: bool
    elsewhere: str = ""


FLAVOURS = {
    Target.TENSORRT: Flavour(
        module="tensorrt",
        product="TensorRT",
        extra="tensorrt",
        majors=(10, 11),
        engine="engine.plan",
        names_gpus=False,
        elsewhere=" On a Jetson it comes with JetPack: make the environment with --system-site-packages.",
    ),
    Target.TENSORRT_RTX: Flavour(
        module="tensorrt_rtx",
        product="TensorRT for RTX",
        extra="rtx",
        majors=(1,),
        engine="engine.rtx",
        names_gpus=True,
    ),
}
