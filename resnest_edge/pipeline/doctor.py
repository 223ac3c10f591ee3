"""What is here, what can be built and run here, and the one command that gets what is missing."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resnest_edge import environment
from resnest_edge.backends.cuda import Device, load_cuda
from resnest_edge.errors import UnavailableError, UsageError
from resnest_edge.measure.power_sources import find_meter
from resnest_edge.measure.power_state import power_state
from resnest_edge.pipeline.runtimes import backend_for
from resnest_edge.spec import Precision, Target
from resnest_edge.stage_cache import LIMIT_BYTES, StageCache, stages_folder

_EXPORT_MODULES = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxsim", "onnxruntime", "safetensors")
_EXTRAS = {
    Target.OPENVINO: "cpu",
    Target.ONNXRUNTIME: "cpu",
    Target.TENSORRT: "tensorrt",
    Target.TENSORRT_RTX: "rtx",
}
_GPU_TARGETS = (Target.TENSORRT, Target.TENSORRT_RTX)
# The compute capability from which on a GPU computes in a precision. NVIDIA's "TensorRT-RTX Support Matrix" lists 7.5
# as the lowest, without BF16, which begins with Ampere (8.0).
_GPU_FROM = {Precision.FP32: (0, 0), Precision.FP16: (7, 5), Precision.BF16: (8, 0), Precision.INT8: (7, 5)}
_NAMES = {
    Target.OPENVINO: "OpenVINO",
    Target.ONNXRUNTIME: "ONNX Runtime",
    Target.TENSORRT: "TensorRT",
    Target.TENSORRT_RTX: "TensorRT for RTX",
}


def examine() -> dict[str, Any]:
    """Look at the machine and at every part that an extra installs.

    Returns:
        ``machine`` (:func:`resnest_edge.environment.describe`), ``bf16``, ``int8_weight_bits``, ``jetson``, ``gpu``
        with ``gpu_reason`` where there is none, ``power`` (mode and clocks), ``meters`` (what tells power), ``cache``:
        ``{folder, entries, size_bytes, limit_bytes}``, what builds keep for later builds,
        ``parts``: a list of ``{name, version, builds, runs, hint}``, ``abilities``: a list of ``{target, precision,
        builds, runs, reason}``, and ``missing``: a list of ``{part, why, command}``.
    """
    gpu, gpu_reason = _gpu()
    power = power_state()
    parts = [_export_part(), *(_runtime_part(target, gpu) for target in Target)]
    versions = {part["name"]: part["version"] for part in parts}
    abilities = [
        ability(target, precision, versions[target.value], gpu, gpu_reason)
        for target in Target
        for precision in Precision
    ]
    driver = (power.get("nvidia_smi") or {}).get("driver")
    return {
        "machine": environment.describe(),
        "bf16": environment.has_bf16(),
        "int8_weight_bits": 8 if environment.has_safe_int8_products() else 7,
        "jetson": environment.jetson(),
        "gpu": None if gpu is None else {**asdict(gpu), "driver": driver},
        "gpu_reason": gpu_reason,
        "power": power,
        "meters": {"cpu": _meter(gpu=False), "gpu": None if gpu is None else _meter(gpu=True)},
        "cache": _cache(),
        "parts": parts,
        "abilities": abilities,
        "missing": [_missing(part, gpu) for part in parts if part["version"] is None],
    }


def ability(
    target: Target, precision: Precision, version: str | None, gpu: Device | None, gpu_reason: str | None
) -> dict[str, Any]:
    """Whether engines of one target and precision can be built here and run here, and why not, or with what limit.

    Args:
        target: the runtime.
        precision: of the typed graph.
        version: of the runtime; None where it is not installed.
        gpu: the GPU, where there is one.
        gpu_reason: why there is none.
    """
    reason = _refused(target, precision)
    if reason is not None:
        builds, runs = False, False
    elif version is None:
        builds, runs, reason = False, False, f"{_NAMES[target]} is not installed, or does not load"
    elif target not in _GPU_TARGETS:
        builds, runs, reason = True, True, _cpu_limit(target, precision)
    else:
        reason = _gpu_limit(precision, gpu, gpu_reason)
        builds, runs = target is Target.TENSORRT_RTX or reason is None, reason is None
    return {"target": target.value, "precision": precision.value, "builds": builds, "runs": runs, "reason": reason}


def _refused(target: Target, precision: Precision) -> str | None:
    try:
        backend_for(target).check(precision)
    except UsageError as exc:
        return exc.what
    return None


def _cpu_limit(target: Target, precision: Precision) -> str | None:
    if precision is Precision.BF16 and not environment.has_bf16():
        return f"this CPU does not compute in BF16: {_NAMES[target]} runs it in FP32"
    if precision is Precision.INT8 and not environment.has_safe_int8_products():
        return "7-bit weights: this CPU has no VNNI"
    return None


def _gpu_limit(precision: Precision, gpu: Device | None, gpu_reason: str | None) -> str | None:
    if gpu is None:
        return gpu_reason
    major, minor = (int(part) for part in gpu.compute_capability.split("."))
    if (major, minor) < (least := _GPU_FROM[precision]):
        needed = ".".join(map(str, least))
        return f"{precision.name} needs compute capability {needed}, and this GPU has {gpu.compute_capability}"
    return None


def _gpu() -> tuple[Device | None, str | None]:
    try:
        return load_cuda().device(), None
    except UnavailableError as exc:
        return None, str(exc)


def _cache() -> dict[str, Any]:
    cache = StageCache(stages_folder())
    entries = cache.entries()
    return {
        "folder": str(cache.folder),
        "entries": len(entries),
        "size_bytes": sum(entry.size_bytes for entry in entries),
        "limit_bytes": LIMIT_BYTES,
    }


def _meter(*, gpu: bool) -> dict[str, str | None]:
    meter, told = find_meter(gpu)
    if meter is None:
        return {"source": None, "reason": told}
    meter.close()
    return {"source": told, "reason": None}


def _export_part() -> dict[str, Any]:
    missing = [name for name in _EXPORT_MODULES if importlib.util.find_spec(name) is None]
    return {
        "name": "export",
        "version": None if missing else environment.tool_versions().get("torch"),
        "builds": not missing,
        "runs": False,
        "hint": f"pip install 'resnest-edge[export]' (no {', '.join(missing)})" if missing else None,
    }


def _runtime_part(target: Target, gpu: Device | None) -> dict[str, Any]:
    needs_gpu = target in _GPU_TARGETS
    try:
        version = backend_for(target).version()
    except UnavailableError:
        hint = f"pip install 'resnest-edge[{_EXTRAS[target]}]'"
        return {"name": target.value, "version": None, "builds": False, "runs": False, "hint": hint}
    runs = gpu is not None or not needs_gpu
    return {
        "name": target.value,
        "version": version,
        "builds": runs or target is Target.TENSORRT_RTX,
        "runs": runs,
        "hint": None,
    }


def _missing(part: dict[str, Any], gpu: Device | None) -> dict[str, Any]:
    """A part that is not here: what it is for, and the one command that gets it."""
    if part["name"] == "export":
        command = "pip install 'resnest-edge[export]'"
        return {"part": "export", "why": "from a checkpoint to a typed graph, and calibration", "command": command}
    target = Target(part["name"])
    why = f"engines for {_NAMES[target]}"
    if target in _GPU_TARGETS and gpu is None:
        why += ", on a machine with an NVIDIA GPU" if target is Target.TENSORRT else "; builds without a GPU"
    command = f"pip install 'resnest-edge[{_EXTRAS[target]}]'"
    if target is Target.TENSORRT and environment.jetson() is not None:
        command = jetson_command()
    return {"part": part["name"], "why": why, "command": command}


def jetson_command(root: Path = Path("/")) -> str:
    """The command that brings JetPack's TensorRT into this Python: the environment's, or the system's package."""
    installed = any((root / "usr/lib").glob("python3*/dist-packages/tensorrt"))
    return f"python3 -m venv --system-site-packages {sys.prefix}" if installed else "sudo apt install nvidia-jetpack"
