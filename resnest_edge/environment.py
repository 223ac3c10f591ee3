"""What machine this is: the facts that builds depend on and that measurements are stamped with."""

from __future__ import annotations

import os
import platform
import re
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

TOOLS = (
    "resnest-edge",
    "numpy",
    "pillow",
    "torch",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxsim",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
)
_VNNI = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
_BF16 = frozenset({"avx512_bf16", "amx_bf16"})
_L4T = re.compile(r"^# R(\d+) \(release\), REVISION: ([0-9.]+)", re.MULTILINE)
_JETPACKS = {"36.3.0": "6.0", "36.4.0": "6.1", "36.4.3": "6.2", "36.4.4": "6.2.1", "39.2.0": "7.2", "39.2.1": "7.2.1"}
_JETPACK_MAJORS = {"35": "5", "36": "6", "38": "7", "39": "7"}


@lru_cache(maxsize=1)
def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The CPU's feature flags as Linux names them; empty where they cannot be read."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.MULTILINE)
    return frozenset(found.group(1).split()) if found else frozenset()


def has_safe_int8_products() -> bool:
    """Whether 8-bit weights can be multiplied without overflowing a 16-bit sum: VNNI or AMX on x86, any Arm core."""
    return is_arm() or bool(_VNNI & cpu_features())


def has_bf16() -> bool:
    """Whether the CPU computes in BF16 itself."""
    return "bf16" in cpu_features() if is_arm() else bool(_BF16 & cpu_features())


def has_amx_bf16() -> bool:
    """Whether the CPU multiplies matrices of BF16 in AMX tiles."""
    return "amx_bf16" in cpu_features()


def is_arm() -> bool:
    """Whether this is a 64-bit Arm machine."""
    return platform.machine().lower() in ("aarch64", "arm64")


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's marketing name, or the architecture where it has none."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def cpu_isa() -> list[str]:
    """The instruction sets that decide which kernels a runtime picks, widest last."""
    order = (
        "avx2",
        "avx_vnni",
        "avx512f",
        "avx512_vnni",
        "avx512_bf16",
        "amx_bf16",
        "amx_int8",
        "asimddp",
        "i8mm",
        "bf16",
    )
    return [name for name in order if name in cpu_features()]


def jetson(root: Path = Path("/")) -> dict[str, str] | None:
    """What Jetson this is, from the files that Jetson Linux installs; None on any other machine.

    Returns:
        ``board``, ``l4t`` (the release of Jetson Linux, such as ``36.4.3``), and ``jetpack``: exact where the package
        ``nvidia-jetpack`` is installed, else what that release belongs to.
    """
    found = _L4T.search(_text(root / "etc/nv_tegra_release"))
    if found is None:
        return None
    l4t = f"{found.group(1)}.{found.group(2)}"
    package = re.search(
        r"^Package: nvidia-jetpack\n(?:\S.*\n| .*\n)*?Version: ([0-9.]+)", _dpkg_status(root), re.MULTILINE
    )
    board = _text(root / "proc/device-tree/model").strip("\0\n ")
    return {
        "board": board or "unknown",
        "l4t": l4t,
        "jetpack": package.group(1) if package else jetpack_of(l4t),
    }


def jetpack_of(l4t: str) -> str:
    """The JetPack that a release of Jetson Linux belongs to, as exactly as NVIDIA's JetPack archive tells it."""
    exact = next((jetpack for release, jetpack in _JETPACKS.items() if l4t == release), None)
    major = _JETPACK_MAJORS.get(l4t.partition(".")[0])
    return exact or (f"{major}.x" if major else f"unknown (Jetson Linux {l4t})")


def _dpkg_status(root: Path) -> str:
    return _text(root / "var/lib/dpkg/status")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def tool_versions() -> dict[str, str]:
    """Versions of the installed packages that an engine or a figure depends on."""
    versions = {"python": platform.python_version()}
    for tool in TOOLS:
        try:
            versions[tool] = metadata.version(tool)
        except metadata.PackageNotFoundError:
            continue
    return versions


def describe() -> dict[str, Any]:
    """The stamp on every measurement: machine, operating system, versions."""
    return {
        "cpu": cpu_name(),
        "cpu_isa": cpu_isa(),
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "os": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        **(jetson() or {}),
        "versions": tool_versions(),
    }
