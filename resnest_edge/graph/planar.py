"""A typed graph as nvinfer feeds and reads it: planar float pixels in, probabilities alone out."""

from __future__ import annotations

import onnx_ir as ir

from resnest_edge.errors import GraphError
from resnest_edge.graph.folding import FLOAT_PIXELS, PLANAR_PIXELS
from resnest_edge.graph.model import INPUT, PROBABILITIES


def planar_probabilities(model: ir.Model) -> ir.Model:
    """Take the uint8 NHWC input back to the float NCHW one, and leave ``logits`` inside; the model is left as it was.

    Exact: whole numbers from 0 to 255 are the same in uint8 and float32, and nothing else is touched.

    Args:
        model: a typed graph of either input format.

    Returns:
        A graph of input ``images`` (N, 3, S, S) float32 RGB in [0, 255] and the one output ``probabilities``.

    Raises:
        GraphError: not the interface that :func:`resnest_edge.graph.folding.fold_interface` writes.
    """
    copy = model.clone()
    graph = copy.graph
    if graph.inputs[0].dtype == ir.DataType.UINT8:
        _take_planar(graph)
    outputs = [value for value in graph.outputs if value.name == PROBABILITIES]
    if len(graph.inputs) != 1 or len(outputs) != 1 or graph.inputs[0].dtype != ir.DataType.FLOAT:
        raise GraphError(f"the graph does not take {INPUT} and give {PROBABILITIES}", hint="Build the bundle again.")
    graph.outputs[:] = outputs
    return copy


def _take_planar(graph: ir.Graph) -> None:
    nodes = {node.name: node for node in graph}
    cast, planar = nodes.get(FLOAT_PIXELS), nodes.get(PLANAR_PIXELS)
    if (
        cast is None
        or planar is None
        or cast.inputs[0] is not graph.inputs[0]
        or planar.inputs[0] is not cast.outputs[0]
    ):
        raise GraphError("the graph does not begin with a cast and a transpose", hint="Build the bundle again.")
    pixels = planar.outputs[0]
    value = ir.Value(name=INPUT, type=ir.TensorType(ir.DataType.FLOAT), shape=pixels.shape)
    graph.inputs[0].name = "preprocess.replaced"
    pixels.replace_all_uses_with(value)
    graph.remove([planar, cast], safe=True)
    graph.inputs[0] = value
