"""Spatial means as global pools: the same numbers under the operator that ONNX Runtime has in INT8."""

from __future__ import annotations

import onnx_ir as ir


def means_as_pools(graph: ir.Graph) -> int:
    """Write every mean over height and width, ``ReduceMean(x, [2, 3])``, as ``GlobalAveragePool(x)``, in place.

    ONNX Runtime makes a ``QLinearGlobalAveragePool`` of a pool between Q/DQ, and computes a mean between them in float
    (tests/backends/test_onnxruntime_fusion.py). Names of nodes and tensors stay, and so do the scales that go by them.

    Args:
        graph: of feature maps (N, C, H, W). Other means are left as they are: over other axes, of another rank, or that
            drop the axes they reduce.

    Returns:
        How many were rewritten.
    """
    means = [node for node in graph if _is_spatial_mean(node)]
    for node in means:
        axes = node.inputs[1]
        node.op_type = "GlobalAveragePool"
        node.attributes.clear()
        node.resize_inputs(1)
        if axes is not None and axes.is_initializer() and not axes.uses():
            graph.initializers.pop(axes.name or "", None)
    return len(means)


def _is_spatial_mean(node: ir.Node) -> bool:
    if node.op_type != "ReduceMean" or node.domain not in ("", "ai.onnx") or len(node.inputs) != 2:
        return False
    maps, axes = node.inputs
    keeps = node.attributes.get_int("keepdims", 1) == 1
    if maps is None or maps.shape is None or maps.shape.rank() != 4 or axes is None or axes.const_value is None:
        return False
    return keeps and sorted(int(axis) % 4 for axis in axes.const_value.numpy()) == [2, 3]
