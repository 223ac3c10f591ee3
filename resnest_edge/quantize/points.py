"""Which activation tensors of a core graph a placement quantizes."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from resnest_edge.graph.model import weighted_nodes
from resnest_edge.quantize.placement import Placement

Uses = dict[ir.Value, list[tuple[ir.Node, int]]]
"""Per tensor, the consumers (node, input index) that are to read its quantized value, in graph order."""


def quantized_uses(graph: ir.Graph, placement: Placement) -> Uses:
    """The tensors to quantize and who reads each one quantized.

    - the activation input of every weighted operator of ``placement.operators``;
    - with ``shortcuts``, the shortcut input of a residual add: the input that is not the block's last convolution;
    - with ``elementwise``, every activation input of those operators, unless all it leads to are layers kept in float;
    - with ``outputs``, all readers of what a quantized operator (and the ReLU behind it) gives, if each is one of
      ``output_readers``.

    A layer of ``placement.keep_float`` reads no quantized value, nor does the residual add that it fuses with.
    """
    uses: Uses = {}
    for node, _ in quantized_nodes(graph, placement):
        _add(uses, node, 0)
        if placement.outputs:
            _add_readers(uses, _behind_relu(node.outputs[0]), placement.output_readers)
    for node in graph:
        shortcut = shortcut_input(node) if placement.shortcuts else None
        if shortcut is not None and not _fuses_kept(node, shortcut, placement):
            _add(uses, node, shortcut)
        if node.op_type in placement.elementwise and _leads_to_int8(node.outputs[0], placement):
            for index, value in enumerate(node.inputs):
                if value is not None and value.const_value is None:
                    _add(uses, node, index)
    for value in list(uses):
        uses[value] = [(node, index) for node, index in uses[value] if node.name not in placement.keep_float]
    return {value: readers for value, readers in uses.items() if readers}


def quantized_nodes(graph: ir.Graph, placement: Placement) -> Iterator[tuple[ir.Node, ir.Value]]:
    """The weighted operators that a placement quantizes, each with its weight, in graph order."""
    for node, weight in weighted_nodes(graph, placement.operators):
        if node.name not in placement.keep_float:
            yield node, weight


def shortcut_input(node: ir.Node) -> int | None:
    """Index of the shortcut in a residual add, or None for any other node.

    A residual add has a convolution with no other reader on one side (the one that fuses with it) and a feature map of
    the same shape on the other. Where both sides are convolutions, as in a downsampling block, the second is the
    shortcut.
    """
    if node.op_type != "Add" or len(node.inputs) != 2:
        return None
    branches = [_is_private_convolution(value) for value in node.inputs]
    if not any(branches) or any(value is None or value.const_value is not None for value in node.inputs):
        return None
    if branches == [False, True]:
        return 0
    return 1


def _leads_to_int8(value: ir.Value, placement: Placement) -> bool:
    """Whether not every path from a tensor, through ReLUs and elementwise operators, ends in a layer kept in float."""
    readers = [node for node, _ in value.uses()]
    through = placement.elementwise | {"Relu"}
    return not readers or any(
        _leads_to_int8(node.outputs[0], placement) if node.op_type in through else node.name not in placement.keep_float
        for node in readers
    )


def _fuses_kept(node: ir.Node, shortcut: int, placement: Placement) -> bool:
    fused = node.inputs[1 - shortcut]
    producer = None if fused is None else fused.producer()
    return producer is not None and producer.name in placement.keep_float


def _is_private_convolution(value: ir.Value | None) -> bool:
    if value is None or len(value.uses()) != 1:
        return False
    producer = value.producer()
    return producer is not None and producer.op_type == "Conv"


def _behind_relu(value: ir.Value) -> ir.Value:
    readers = [node for node, _ in value.uses()]
    if len(readers) == 1 and readers[0].op_type == "Relu":
        return readers[0].outputs[0]
    return value


def _add_readers(uses: Uses, value: ir.Value, kinds: frozenset[str] | None) -> None:
    readers = value.uses()
    if value.is_graph_output() or (kinds is not None and any(node.op_type not in kinds for node, _ in readers)):
        return
    for node, index in readers:
        _add(uses, node, index)


def _add(uses: Uses, node: ir.Node, index: int) -> None:
    value = node.inputs[index]
    if value is None:
        return
    readers = uses.setdefault(value, [])
    if (node, index) not in readers:
        readers.append((node, index))
