"""onnxsim over a core graph: constants folded, dead nodes gone, names and interface kept."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import onnxsim
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from resnest_edge.errors import GraphError
from resnest_edge.graph.model import IR_VERSION, first_line


def simplify_graph(model: ir.Model) -> ir.Model:
    """Fold constants and drop what they leave unused; every constant becomes an initializer, as weights are.

    Raises:
        GraphError: onnxsim fails.
    """
    try:
        proto, _ = onnxsim.simplify(ir.to_proto(model))
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as exc:
        raise GraphError(f"onnxsim cannot simplify this graph ({first_line(exc)})") from exc
    simplified: ir.Model = ir.from_proto(proto)
    simplified.ir_version = IR_VERSION
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(simplified)
    simplified.metadata_props.clear()  # onnxsim's verdicts depend on what else is installed, and so would the digest
    return simplified
