"""A graph that tells the mean and the mean square of its layers' output channels."""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import onnx_ir as ir

from resnest_edge.graph.model import add_initializer, add_node

_FLOAT = ir.DataType.FLOAT


def moments_graph(core: ir.Model, layers: Container[str]) -> tuple[ir.Model, list[str]]:
    """The core graph giving, of each convolution named, its output's mean and mean square over positions.

    Args:
        core: FP32 core graph; it is left as it was.
        layers: names of convolutions; what is none, or is not there, is left out.

    Returns:
        A graph of two outputs a layer, (N, channels) float32 each; and the layers, in graph order.
    """
    model = core.clone()
    graph = model.graph
    found = [node for node in graph if node.op_type == "Conv" and (node.name or "") in layers]
    axes = add_initializer(graph, "moments.positions", np.array([2, 3]), ir.DataType.INT64)
    outputs = []
    for node in found:
        value, shape = node.outputs[0], ir.Shape([None, None])
        square = add_node(graph, "Mul", [value, value], f"{node.name}.square", _FLOAT, value.shape)
        for source, name in ((value, "mean"), (square, "mean_square")):
            mean = add_node(graph, "ReduceMean", [source, axes], f"{node.name}.{name}", _FLOAT, shape, {"keepdims": 0})
            outputs.append(mean)
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    graph.sort()
    return model, [node.name or "" for node in found]
