"""Element types of an ONNX file's zero points, read without the onnx package, which a device need not have.

TensorRT's parser turns uint8 zero points into int8 ones with no more than a warning, so that values above 127 clip,
and its network no longer tells. Field numbers are those of ``onnx.proto``.
"""

from __future__ import annotations

from pathlib import Path

from resnest_edge.backends.onnx_wire import fields, parts, texts
from resnest_edge.errors import GraphError

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_NAME, _NODE_OPERATOR = 1, 3, 4
_TENSOR_TYPE, _TENSOR_NAME = 2, 8
_INT8 = 3
_TYPES = {2: "a uint8", 4: "a uint16", 5: "an int16", 6: "an int32", 17: "a float8"}


def check_zero_points(model: bytes, where: Path) -> None:
    """Refuse a graph with Q/DQ of anything but int8.

    Args:
        model: a serialised ONNX model.
        where: its file, for the message.

    Raises:
        GraphError: a zero point is missing or not int8, naming its node; or this is not ONNX.
    """
    try:
        graph = next(parts(memoryview(model), _MODEL_GRAPH))
        types = dict(_typed_name(tensor) for tensor in parts(graph, _GRAPH_INITIALIZER))
        nodes = [_node(node) for node in parts(graph, _GRAPH_NODE)]
    except (StopIteration, IndexError, ValueError) as exc:
        raise GraphError("this is not an ONNX model", where=where) from exc
    for operator, name, inputs in nodes:
        kind = types.get(inputs[2]) if len(inputs) > 2 else None
        if operator in ("QuantizeLinear", "DequantizeLinear") and kind != _INT8:
            described = "no constant" if kind is None else _TYPES.get(kind, "another type of")
            raise GraphError(
                f"{operator} {name} has {described} zero point; TensorRT takes int8, and would read it as such",
                where=where,
                hint="Quantize again in the portable style: int8, zero point 0.",
            )


def _node(message: memoryview) -> tuple[str, str, list[str]]:
    """Operator, name and inputs of one node."""
    operator, name = (next(texts(message, number), "") for number in (_NODE_OPERATOR, _NODE_NAME))
    return operator, name, list(texts(message, _NODE_INPUT))


def _typed_name(tensor: memoryview) -> tuple[str, int]:
    """Name and element type of one constant."""
    kind = next((value for number, value, _ in fields(tensor) if number == _TENSOR_TYPE), 0)
    return next(texts(tensor, _TENSOR_NAME), ""), kind
