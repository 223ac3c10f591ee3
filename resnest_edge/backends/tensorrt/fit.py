"""Does an engine fit this machine? What it was built for, what is here, and the command that builds it again."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from resnest_edge.backends.cuda import Device
from resnest_edge.backends.tensorrt.build import input_shape
from resnest_edge.backends.tensorrt.configure import CURRENT
from resnest_edge.backends.tensorrt.flavours import Flavour
from resnest_edge.errors import BundleMisfitError
from resnest_edge.spec import GraphInfo

BUILT_FOR = "built_for"
"""Key of :func:`describe_machine` among a build's details."""

_WORDS = {
    "os": "operating system",
    "architecture": "architecture",
    "gpu": "GPU",
    "compute_capability": "compute capability",
    "cuda": "CUDA of the driver",
    "profile": "input shapes",
}
_AMPERE = (8, 0)


def describe_machine(version: str, device: Device | None, info: GraphInfo) -> dict[str, Any]:
    """What an engine depends on, here: a bundle's manifest keeps it, and loading compares it.

    Args:
        version: of the runtime.
        device: the GPU; None where a build needs none.
        info: the graph, whose smallest, best and largest input shapes the engine takes.
    """
    batch = info.batch
    return {
        "runtime": version,
        "os": platform.system(),
        "architecture": platform.machine(),
        "cuda": device.cuda if device else None,
        "gpu": device.name if device else None,
        "compute_capability": device.compute_capability if device else None,
        "profile": [list(input_shape(info, size)) for size in (batch.minimum, batch.optimum, batch.maximum)],
    }


def check_fit(flavour: Flavour, engine: Path, details: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Compare what an engine was built for with what is here.

    Args:
        flavour: the product that built it.
        engine: its file, in its bundle's folder.
        details: the build's details, from the manifest.
        here: :func:`describe_machine`.

    Raises:
        BundleMisfitError: it does not fit, saying everything that differs and the command that builds it again.
    """
    there = details.get(BUILT_FOR)
    if not isinstance(there, Mapping):
        raise BundleMisfitError(
            "its manifest does not say which machine it was built for",
            where=engine,
            hint=rebuild_hint(flavour, engine, details),
        )
    if any(_misfits(flavour, details, there, here)):
        raise BundleMisfitError(
            f"this engine does not fit this machine: {'; '.join(_differences(flavour, details, there, here))}",
            where=engine,
            hint=rebuild_hint(flavour, engine, details),
        )


def _misfits(
    flavour: Flavour, details: Mapping[str, Any], there: Mapping[str, Any], here: Mapping[str, Any]
) -> Iterator[bool]:
    """Each reason that an engine may not run."""
    compatible = details.get("hardware_compatibility")
    capability, same_gpu = here["compute_capability"], there.get("gpu") == here["gpu"]
    yield any(there.get(key) != here[key] for key in ("os", "architecture", "profile"))
    if details.get("version_compatible"):
        yield _numbers(here["runtime"]) < _numbers(there.get("runtime"))
    else:
        yield here["runtime"] != there.get("runtime")
    if there.get("cuda"):
        yield _numbers(here["cuda"])[:1] < _numbers(there["cuda"])[:1]
    if flavour.names_gpus:
        yield not _is_named(details, there, capability)
    elif compatible == "ampere-plus":
        yield _numbers(capability) < _AMPERE
    else:
        yield there.get("compute_capability") != capability
        yield compatible is None and not same_gpu


def _is_named(details: Mapping[str, Any], there: Mapping[str, Any], capability: str) -> bool:
    """Whether a build that names its GPUs named this one; without any, it is for all from Ampere on."""
    named = details.get("compute_capabilities") or []
    if CURRENT in named:
        return bool(there.get("compute_capability") == capability)
    return capability in named or (not named and _numbers(capability) >= _AMPERE)


def _differences(
    flavour: Flavour, details: Mapping[str, Any], there: Mapping[str, Any], here: Mapping[str, Any]
) -> Iterator[str]:
    """Everything that is not the same, whether or not it matters by itself."""
    if there.get("runtime") != here["runtime"]:
        yield f"{flavour.product} {there.get('runtime')} built it and {here['runtime']} is here"
    for key, word in _WORDS.items():
        if there.get(key) is not None and there[key] != here[key]:
            yield f"{word} {there[key]} there and {here[key]} here"
    if flavour.names_gpus and not _is_named(details, there, here["compute_capability"]):
        named = ", ".join(details.get("compute_capabilities") or ["8.0 and newer"])
        yield f"built for compute capability {named}, and this GPU has {here['compute_capability']}"


def rebuild_hint(flavour: Flavour, engine: Path, details: Mapping[str, Any]) -> str:
    """The command that builds the same engine for what is here."""
    bundle = engine.parent
    words = ["resnest-edge", "build", str(bundle), "--target", str(flavour.target)]
    for name, option in (("optimization_level", "--optimization-level"), ("dla_core", "--dla-core")):
        if details.get(name) is not None:
            words += [option, str(details[name])]
    if (level := details.get("hardware_compatibility")) is not None:
        words += ["--hardware-compatibility", str(level)]
    if flavour.names_gpus:
        words += ["--compute-capability", CURRENT]
    words += [
        "--" + name.replace("_", "-")
        for name in ("version_compatible", "refittable", "stripped")
        if details.get(name) is True
    ]
    return f"Build it again here: {shlex.join([*words, '--out', f'{bundle}-here'])}"


def _numbers(version: Any) -> tuple[int, ...]:
    """``10.3.0`` as numbers; what is none counts as the oldest."""
    return tuple(int(part) for part in str(version).split(".") if part.isdigit())
