"""Two runtimes to compare a graph with: ONNX Runtime with its optimisations off, and ONNX's own ReferenceEvaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx.reference import ReferenceEvaluator

from resnest_edge.graph.model import INPUT, to_bytes

Arrays = list[npt.NDArray[Any]]


def run_ort(model: ir.Model, images: npt.NDArray[Any], outputs: list[str] | None = None) -> Arrays:
    """What ONNX Runtime answers on one thread, the graph run as it is written; any tensor may be asked for by name."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    data = to_bytes(model) if outputs is None else to_bytes(with_outputs(model, outputs))
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(outputs, {INPUT: images})]


def run_reference(model: ir.Model, images: npt.NDArray[Any]) -> Arrays:
    """What ONNX's own evaluator, written in NumPy, answers."""
    return [
        np.asarray(array)
        for array in ReferenceEvaluator(onnx.load_from_string(to_bytes(model))).run(None, {INPUT: images})
    ]


def with_outputs(model: ir.Model, names: list[str]) -> ir.Model:
    """A copy whose outputs are the tensors of these names."""
    copy = model.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    values.update({value.name: value for value in copy.graph.inputs})
    copy.graph.outputs[:] = [values[name] for name in names]
    return copy
