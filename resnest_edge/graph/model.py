"""Reading, writing and identifying ONNX graphs, and the two edits every pass needs.

A graph travels between stages as an :class:`onnx_ir.Model`. The **core graph** takes the input ``images``, a
normalised float NCHW batch in the network's own channel order, and gives ``logits`` (N, num_classes), both float32.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.serde import SerdeError

from resnest_edge.errors import GraphError
from resnest_edge.files import write_atomically
from resnest_edge.spec import Precision

INPUT = "images"
LOGITS = "logits"
PROBABILITIES = "probabilities"
OPSET = 20
_MAX_BYTES = (1 << 31) - 1  # of a Protocol Buffers message
OPSET_BF16 = 22
IR_VERSION = 10

DTYPES = {
    Precision.FP32: ir.DataType.FLOAT,
    Precision.FP16: ir.DataType.FLOAT16,
    Precision.BF16: ir.DataType.BFLOAT16,
}


# What onnx and onnx_ir raise on a model that is none, as fuzzing found.
_UNREADABLE = (
    DecodeError,
    onnx.checker.ValidationError,
    SerdeError,
    AttributeError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


def load_graph(path: Path) -> ir.Model:
    """Read and check an ONNX file.

    Raises:
        GraphError: the file is missing, not ONNX, or not valid ONNX.
    """
    if not path.is_file():
        raise GraphError("there is no such ONNX file", where=path)
    if path.stat().st_size > _MAX_BYTES:
        raise GraphError("this file is larger than an ONNX model can be (2 GiB)", where=path)
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
        return ir.from_proto(proto)
    except _UNREADABLE as exc:
        raise GraphError(f"this is not a usable ONNX model ({first_line(exc)})", where=path) from exc


def to_bytes(model: ir.Model) -> bytes:
    """Serialise deterministically: the same graph gives the same bytes.

    Raises:
        GraphError: the graph is not valid ONNX.
    """
    try:
        proto = ir.to_proto(model)
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, SerdeError) as exc:
        raise GraphError(f"the rewritten graph is not valid ONNX ({first_line(exc)})") from exc
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def save_graph(model: ir.Model, path: Path) -> None:
    """Check and write a graph, atomically.

    Raises:
        GraphError: the graph is not valid ONNX.
        OutputError: the file cannot be written.
    """
    write_atomically(path, to_bytes(model))


def digest(model: ir.Model) -> str:
    """SHA-256, in hex, of the serialised graph."""
    return hashlib.sha256(to_bytes(model)).hexdigest()


def first_line(exc: Exception) -> str:
    """The first line of a library's message, or the error's name when it has none."""
    text = str(exc).strip()
    return text.splitlines()[0] if text else type(exc).__name__


def add_initializer(graph: ir.Graph, name: str, array: npt.NDArray[np.generic], dtype: ir.DataType) -> ir.Value:
    """Add a constant.

    Raises:
        GraphError: the graph has a constant of that name already.
    """
    if name in graph.initializers:
        raise GraphError(
            f"the graph has a constant named {name} already", hint="Rename it, or start from the core graph."
        )
    tensor = ir.tensor(np.asarray(array, dtype=dtype.numpy(), order="C"), dtype=dtype, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def add_node(
    graph: ir.Graph,
    op_type: str,
    inputs: list[ir.Value],
    output: str,
    dtype: ir.DataType,
    shape: ir.Shape | None = None,
    attributes: Mapping[str, int | list[int]] | None = None,
) -> ir.Value:
    """Append a node of one output; its name is the output's. The caller sorts the graph when done."""
    value = ir.Value(name=output, type=ir.TensorType(dtype), shape=shape)
    graph.append(ir.node(op_type, inputs, dict(attributes or {}), outputs=[value], name=output))
    return value


def observing(model: ir.Model, tensors: Sequence[str]) -> tuple[bytes, list[str]]:
    """A graph that gives the named tensors and nothing else; the model is left as it was.

    Returns:
        The serialised graph, and the names of its outputs, in the order of ``tensors``; these may name the input.
    """
    copy = model.clone()
    graph = copy.graph
    values = {value.name: value for node in graph for value in node.outputs}
    for value in graph.inputs:
        values[value.name] = add_node(
            graph, "Identity", [value], f"{value.name}.observed", value.dtype or ir.DataType.FLOAT, value.shape
        )
    outputs = [values[name] for name in tensors]
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    return to_bytes(copy), [value.name or "" for value in outputs]


def weighted_nodes(graph: ir.Graph, op_types: frozenset[str]) -> Iterator[tuple[ir.Node, ir.Value]]:
    """Nodes of the given types whose second input is a constant weight, with that weight, in graph order."""
    for node in graph:
        if node.op_type not in op_types or len(node.inputs) < 2:
            continue
        weight = node.inputs[1]
        if weight is not None and weight.const_value is not None and weight.name in graph.initializers:
            yield node, weight
