"""The layers of a TensorRT engine, from the JSON of its engine inspector in the dialects of TensorRT 10 and 11.

How much it tells depends on the verbosity the engine was built with: the names of its layers, or also their tensors,
weights and kernels. TensorRT 11 writes ``I/O Tensors`` where 10 writes ``Bindings``, and splits a tensor's
``Format/Datatype`` in two (NVIDIA, "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnest_edge.backends.inspection import EngineLayer
from resnest_edge.backends.tensorrt.fit import rebuild_hint
from resnest_edge.backends.tensorrt.flavours import Flavour
from resnest_edge.backends.tensorrt.library import Messages, load_library, make_logger
from resnest_edge.errors import BundleError, BundleMisfitError, UnavailableError

_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=[\x1e\x1f\[]|$)")  # separators of a layer's Metadata: RS and US
_BETWEEN = re.compile(r" \+ | \|\| |[(),]")  # of a fused layer's name; PWN(…) is a fusion of pointwise layers
_REGION = re.compile(r"\{?ForeignNode\[(.*?)\]\}?$")
_COPY = re.compile(r"^Reformatting CopyNode for (?:In|Out)put Tensor \d+ to ")
_CLONE = re.compile(r"_clone_\d+$")
_MATRIX_KIND = re.compile(r"conv|gemm|matrix ?mul|matmul|fully", re.IGNORECASE)
_COPY_KIND = re.compile(r"reformat|constant|noop|shuffle|cast|shape", re.IGNORECASE)
_TYPES = (
    (re.compile(r"\bint8\b", re.IGNORECASE), "int8"),
    (re.compile(r"\b(?:bf16|bfloat16)\b", re.IGNORECASE), "bf16"),
    (re.compile(r"\b(?:fp16|half|float16)\b", re.IGNORECASE), "fp16"),
    (re.compile(r"\bfp8\b", re.IGNORECASE), "fp8"),
    (re.compile(r"\b(?:fp32|float32|float)\b", re.IGNORECASE), "fp32"),
)
# Kernels of NVIDIA's xmma library name the types of their operands first: "…_i8i8_i8i32_f32_…".
_KERNELS = (
    (re.compile(r"_i8(?:i8|f16|bf16|f32)_|imma|int8|dp4a", re.IGNORECASE), "int8"),
    (re.compile(r"_bf16(?:bf16|f32)_", re.IGNORECASE), "bf16"),
    (re.compile(r"_f16(?:f16|f32)_|_h\d{3,}", re.IGNORECASE), "fp16"),
    (re.compile(r"_f32f32_", re.IGNORECASE), "fp32"),
)


@dataclass(frozen=True)
class EngineInformation:
    """What the inspector told.

    Attributes:
        layers: in the order they run.
        tensors: names of the engine's inputs and outputs.
        detailed: whether the engine was built so that it tells more than names.
    """

    layers: list[EngineLayer]
    tensors: list[str]
    detailed: bool


def inspect_engine(flavour: Flavour, engine: Path, details: Mapping[str, Any]) -> EngineInformation:
    """Load an engine and ask its inspector.

    Args:
        flavour: the product that built it.
        engine: its file.
        details: the build's details, from the manifest.

    Raises:
        UnavailableError: the runtime or its GPU is not here.
        BundleMisfitError: the engine is for another GPU or version.
        BundleError: the inspector's answer cannot be read.
    """
    library, messages = load_library(flavour), Messages()
    logger = make_logger(library, messages)
    try:
        runtime = library.Runtime(logger)
    except (TypeError, RuntimeError) as exc:  # the bindings' words for a null pointer
        raise _refusal(flavour, engine, details, messages) from exc
    if details.get("version_compatible"):
        runtime.engine_host_code_allowed = True  # what --version-compatible asked to put into the plan
    loaded = runtime.deserialize_cuda_engine(engine.read_bytes())
    if loaded is None:
        raise _refusal(flavour, engine, details, messages)
    inspector = loaded.create_engine_inspector()
    text = str(inspector.get_engine_information(library.LayerInformationFormat.JSON))
    del inspector, loaded  # before the runtime that they belong to
    return parse_information(text)


def parse_information(text: str) -> EngineInformation:
    """Read the inspector's JSON (also what ``trtexec --exportLayerInfo`` writes).

    Raises:
        BundleError: it is no such JSON.
    """
    try:
        value = json.loads(text)
        found = value["Layers"]
        layers = [_layer({"Name": item} if isinstance(item, str) else item) for item in found]
        tensors = [
            item if isinstance(item, str) else str(item["Name"])
            for item in value.get("I/O Tensors") or value.get("Bindings") or []
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BundleError(f"the engine inspector's answer cannot be read ({exc!r})") from exc
    return EngineInformation(layers, tensors, any(not isinstance(item, str) for item in found))


def fused_names(name: str) -> tuple[str, ...]:
    """Names of the layers that a fused layer's name is made of; none for a copy between two formats.

    ``conv1 + relu1``, ``conv1 || conv2``, ``PWN(PWN(sigmoid, mul), add)``, and ``{ForeignNode[first...last]}``, of
    which only the two ends are told.
    """
    if _COPY.match(name):
        return ()
    region = _REGION.match(name)
    pieces = region.group(1).split("...") if region else _BETWEEN.split(name)
    names = (_CLONE.sub("", piece.strip()) for piece in pieces)
    return tuple(dict.fromkeys(piece for piece in names if piece and piece != "PWN"))


def _layer(layer: Mapping[str, Any]) -> EngineLayer:
    name, kind, kernel = str(layer["Name"]), str(layer.get("LayerType", "")), str(layer.get("TacticName", ""))
    copies = bool(_COPY_KIND.search(kind))
    matrix = not copies and bool(_MATRIX_KIND.search(f"{kind} {layer.get('ParameterType', '')} {kernel}"))
    noted = _NODE.findall(str(layer.get("Metadata", "")))
    return EngineLayer(
        name=name,
        kind=kind,
        origins=() if _COPY.match(name) else tuple(dict.fromkeys((*noted, *fused_names(name)))),
        precision=_matrix_precision(layer, kernel) if matrix else _tensor_precision(layer, "Outputs"),
        matrix=matrix,
        kernel=kernel,
    )


def _matrix_precision(layer: Mapping[str, Any], kernel: str) -> str | None:
    """By the weights' type, else by the kernel's name, else by the first input's type."""
    weights = layer.get("Weights") or layer.get("ConvWeights")
    if isinstance(weights, Mapping) and (word := _word(str(weights.get("Type", "")))):
        return word
    named = next((word for pattern, word in _KERNELS if pattern.search(kernel)), None)
    return named or _tensor_precision(layer, "Inputs")


def _tensor_precision(layer: Mapping[str, Any], side: str) -> str | None:
    tensors = [tensor for tensor in layer.get(side) or [] if isinstance(tensor, Mapping)]
    if not tensors:
        return None
    types = {key.lower().replace(" ", ""): str(value) for key, value in tensors[0].items()}
    return _word(types.get("datatype") or types.get("format/datatype") or types.get("format") or "")


def _word(text: str) -> str | None:
    return next((word for pattern, word in _TYPES if pattern.search(text)), None)


def _refusal(
    flavour: Flavour, engine: Path, details: Mapping[str, Any], messages: Messages
) -> UnavailableError | BundleMisfitError:
    reason = messages.reason()
    if "driver" in reason or "no CUDA-capable device" in reason:
        return UnavailableError(
            f"{flavour.product} finds no GPU it can use here ({reason})",
            hint="Inspect it on the machine that runs it; nvidia-smi shows GPU and driver.",
        )
    return BundleMisfitError(
        f"{flavour.product} cannot load this engine here ({reason})",
        where=engine,
        hint=rebuild_hint(flavour, engine, details),
    )
