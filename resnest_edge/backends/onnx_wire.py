"""An ONNX file's graph read without the onnx package, which a device need not have.

Field numbers are those of ``onnx.proto``, the encoding is that of Protocol Buffers (protobuf.dev, "Encoding").
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from resnest_edge.errors import GraphError

_MODEL_GRAPH = 7
_GRAPH_NODE = 1
_NODE_OUTPUT, _NODE_NAME = 2, 3


def node_outputs(path: Path) -> dict[str, str]:
    """Name of the node that gives each tensor.

    Raises:
        GraphError: this is not an ONNX model.
    """
    try:
        graph = next(parts(memoryview(path.read_bytes()), _MODEL_GRAPH))
        nodes = [(next(texts(node, _NODE_NAME), ""), texts(node, _NODE_OUTPUT)) for node in parts(graph, _GRAPH_NODE)]
        return {tensor: name for name, outputs in nodes for tensor in outputs}
    except (StopIteration, IndexError, ValueError) as exc:
        raise GraphError("this is not an ONNX model", where=path) from exc


def texts(message: memoryview, wanted: int) -> Iterator[str]:
    """The strings of one field."""
    return (str(part, "utf-8") for part in parts(message, wanted))


def parts(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The bytes of one field, as often as it stands in the message."""
    return (part for number, _, part in fields(message) if number == wanted)


def fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Each field as (number, value, bytes): a value for varints, bytes for strings and messages, neither for others."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        value, length = 0, 0
        if wire_type == 0:
            value, position = _varint(message, position)
        elif wire_type == 2:
            length, position = _varint(message, position)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type}")
        if position + length > len(message):
            raise ValueError("a field ends beyond its message")
        yield number, value, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A base-128 number and the position behind it."""
    value, shift = 0, 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
