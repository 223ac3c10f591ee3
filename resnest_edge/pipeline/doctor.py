"""What this installation can build and run, and the one command that gets what is missing."""

from __future__ import annotations

import importlib.util
from typing import Any

from resnest_edge import environment
from resnest_edge.errors import UnavailableError
from resnest_edge.pipeline.runtimes import backend_for
from resnest_edge.spec import Target

_EXPORT_MODULES = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxsim", "onnxruntime", "safetensors")
_EXTRAS = {
    Target.OPENVINO: "cpu",
    Target.ONNXRUNTIME: "cpu",
    Target.TENSORRT: "tensorrt",
    Target.TENSORRT_RTX: "rtx",
}
_RUNS_HERE = (Target.OPENVINO, Target.ONNXRUNTIME)


def examine() -> dict[str, Any]:
    """Look at the machine and at every part that an extra installs.

    Returns:
        ``machine`` (:func:`resnest_edge.environment.describe`), ``bf16``, ``int8_weight_bits``, and ``parts``: a list
        of ``{name, version, builds, runs, hint}``.
    """
    return {
        "machine": environment.describe(),
        "bf16": environment.has_bf16(),
        "int8_weight_bits": 8 if environment.has_safe_int8_products() else 7,
        "parts": [_export_part(), *(_runtime_part(target) for target in Target)],
    }


def _export_part() -> dict[str, Any]:
    missing = [name for name in _EXPORT_MODULES if importlib.util.find_spec(name) is None]
    return {
        "name": "export",
        "version": None if missing else environment.tool_versions().get("torch"),
        "builds": not missing,
        "runs": False,
        "hint": f"pip install 'resnest-edge[export]' (no {', '.join(missing)})" if missing else None,
    }


def _runtime_part(target: Target) -> dict[str, Any]:
    try:
        version = backend_for(target).version()
    except UnavailableError:
        hint = f"pip install 'resnest-edge[{_EXTRAS[target]}]'"
        return {"name": target.value, "version": None, "builds": False, "runs": False, "hint": hint}
    return {"name": target.value, "version": version, "builds": True, "runs": target in _RUNS_HERE, "hint": None}
