"""Deciding the open dimensions of a core graph: batch and image size."""

from __future__ import annotations

import onnx_ir as ir

from resnest_edge.spec import BatchRange

BATCH = "batch"


def with_shape(core: ir.Model, batch: BatchRange, image_size: int) -> ir.Model:
    """The same graph for one batch range and image size; the core is left as it was.

    A fixed batch is written into every tensor's shape; a range is the dimension ``batch``. Shapes inside the graph that
    would depend on a dimension whose name changes are dropped where they cannot be renamed: they are only hints.

    Args:
        core: takes ``images`` (N, 3, S, S), gives ``logits`` (N, classes).
        batch: the batch sizes to accept.
        image_size: S, pixels.
    """
    model = core.clone()
    graph = model.graph
    images = graph.inputs[0]
    first: int | str = batch.minimum if batch.fixed else BATCH
    old = _symbols(images)
    images.shape = ir.Shape([first, 3, image_size, image_size])
    outputs = [(value, value.shape) for value in graph.outputs]
    for node in graph:
        for value in node.outputs:
            value.shape = _renamed(value.shape, old[0], first) if old[1:] == [None, None, None] else None
    for value, shape in outputs:
        value.shape = None if shape is None else ir.Shape([first, *shape[1:]])
    return model


def _symbols(value: ir.Value) -> list[str | None]:
    """The name of each dimension that has one; None for numbers."""
    return [] if value.shape is None else [None if isinstance(dim, int) else dim.value for dim in value.shape]


def _renamed(shape: ir.Shape | None, old: str | None, new: int | str) -> ir.Shape | None:
    if shape is None or old is None:
        return shape
    return ir.Shape([new if not isinstance(dim, int) and dim.value == old else dim for dim in shape])
