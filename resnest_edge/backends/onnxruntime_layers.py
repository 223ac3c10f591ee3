"""The layers of an ONNX Runtime engine, from the profile of an inference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnest_edge.backends.inspection import EngineLayer
from resnest_edge.backends.onnx_wire import node_outputs
from resnest_edge.backends.onnxruntime import FLOAT_KERNELS, INT8_KERNELS, profile
from resnest_edge.spec import GraphInfo, Precision

_RUNS = 7  # the first inference also allocates and any may be interrupted, so medians count
_PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "uint8": "int8", "int8": "int8"}

# What ONNX Runtime appends when it makes a node out of another: of the name of the node's output where it changes the
# layout, of the node's own name otherwise.
_APPENDED = re.compile(r"(_kernel_time|_token_\d+|/duplicated|_nchwc)$")


def onnxruntime_layers(engine: Path, info: GraphInfo) -> list[EngineLayer]:
    """Load an engine on this machine, run it on zeros, and list what was executed.

    Args:
        engine: the optimised graph ``engine.onnx``.
        info: of the typed graph; one inference of its smallest batch is run.

    Raises:
        UnavailableError: ONNX Runtime is not installed.
        BundleMisfitError: it cannot load this engine.
    """
    producers = node_outputs(engine)
    return [engine_layer(event, producers) for event in profile(engine, info, _RUNS)]


def engine_layer(event: Mapping[str, Any], producers: Mapping[str, str]) -> EngineLayer:
    """One node of a profile.

    Args:
        event: its ``name``, ``dur`` in microseconds, and ``args``.
        producers: name of the engine's node that gives each tensor.
    """
    name = str(event["name"]).removesuffix("_kernel_time")
    kind = str(event["args"]["op_name"])
    inputs = event["args"].get("input_type_shape") or [{}]
    given = next(iter(inputs[0]), None)
    quantized = kind in INT8_KERNELS
    return EngineLayer(
        name=name,
        kind=kind,
        origins=(_origin(name, producers),),
        precision=Precision.INT8.value if quantized else _PRECISIONS.get(given or "", given),
        matrix=quantized or kind in FLOAT_KERNELS,
        milliseconds=event["dur"] / 1000,
    )


def _origin(name: str, producers: Mapping[str, str]) -> str:
    while (shorter := _APPENDED.sub("", name)) != name:
        name = shorter
    return producers.get(name, name)
