"""Graphs written as ONNX text."""

from __future__ import annotations

import onnx
import onnx.parser
import onnx_ir as ir


def parse(text: str) -> ir.Model:
    """A graph from ONNX's textual syntax, checked, its intermediate types inferred; nodes are named after outputs."""
    proto = onnx.parser.parse_model(text)
    for node in proto.graph.node:
        node.name = node.name or node.output[0]
    onnx.checker.check_model(proto, full_check=True)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))
