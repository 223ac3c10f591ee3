"""PyTorch module to core graph, with names that map to the model's layers."""

from __future__ import annotations

import ast
import contextlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir
import torch
from torch import nn

from resnest_edge.errors import GraphError
from resnest_edge.graph.model import INPUT, IR_VERSION, LOGITS, OPSET, first_line
from resnest_edge.spec import BatchRange

_SCOPES = "pkg.torch.onnx.name_scopes"


def export_graph(module: nn.Module, *, image_size: int, batch: BatchRange) -> ir.Model:
    """Export an inference-form classifier with torch.export's ONNX exporter, opset 20.

    Args:
        module: takes a normalised float32 NCHW batch, gives logits; in evaluation mode.
        image_size: side of the square input, pixels.
        batch: a fixed size becomes a fixed dimension, a range the dimension ``batch``.

    Returns:
        The core graph. Nodes are named after their module: ``layer3.4.split_attention.conv.0``.

    Raises:
        GraphError: the exporter cannot trace the module.
    """
    example = torch.zeros(batch.minimum if batch.fixed else 2, 3, image_size, image_size)
    shapes = None if batch.fixed else ({0: torch.export.Dim("batch", min=1)},)
    with _quiet():
        try:
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=shapes,
                input_names=[INPUT],
                output_names=[LOGITS],
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as exc:
            raise GraphError(f"PyTorch cannot export this network ({first_line(exc)})") from exc
    if program is None:
        raise GraphError("PyTorch's exporter gave no graph")
    model = program.model
    model.ir_version = IR_VERSION
    name_after_layers(model.graph)
    _drop_provenance(model)
    return model


def name_after_layers(graph: ir.Graph) -> None:
    """Name each node after its layer, and each intermediate value after its node.

    A node with a weight takes the weight's module (``fc`` for ``fc.weight``); any other takes the innermost module
    the exporter recorded, with its operator (``layer1.0.split_attention.attention.Sigmoid``), numbered when repeated.
    Where the exporter recorded none (``Split``), the node belongs to the module it reads from.
    """
    taken: Counter[str] = Counter()
    for node in graph:
        name = _layer_name(node)
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}.{taken[name]}"
        for index, value in enumerate(node.outputs):
            if not value.is_graph_output():
                value.name = f"{node.name}.out" if len(node.outputs) == 1 else f"{node.name}.out{index}"


def _layer_name(node: ir.Node) -> str:
    for value in node.inputs:
        if value is not None and value.is_initializer() and (value.name or "").endswith(".weight"):
            return (value.name or "").removesuffix(".weight")
    inner = [scope for scope in _scopes(node)[:-1] if scope]
    return ".".join([*inner[-1:], node.op_type])


def _scopes(node: ir.Node) -> list[str]:
    """The modules around a node, outermost first, and last the operator."""
    recorded = node.metadata_props.get(_SCOPES)
    if recorded is not None:
        return list(ast.literal_eval(recorded))
    producers = [value.producer() for value in node.inputs if value is not None]
    return next((_scopes(producer) for producer in producers if producer is not None), [])


def _drop_provenance(model: ir.Model) -> None:
    """Remove the exporter's stack traces, paths and version: they tell of this machine and make digests differ."""
    model.producer_version = None
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        values.extend(node.outputs)
    for value in values:
        value.metadata_props.clear()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's notes about torchvision and its own deprecations, which no user can act on."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)
