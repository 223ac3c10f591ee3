"""Bring your own ONNX: turn any image classifier into a core graph, or say why it is not one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx.version_converter import ConvertError, convert_version

from resnest_edge.errors import GraphError
from resnest_edge.graph.model import INPUT, IR_VERSION, LOGITS, OPSET, first_line

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True)
class Classifier:
    """A foreign classifier as a core graph.

    Attributes:
        core: takes ``images`` (N, 3, S, S), gives ``logits`` (N, num_classes), both float32.
        image_size: S, or None where the model leaves it open.
        num_classes: None where the model leaves it open.
        batch: the one batch size the model was exported with, or None when it is dynamic.
    """

    core: ir.Model
    image_size: int | None
    num_classes: int | None
    batch: int | None


def adopt_classifier(model: ir.Model) -> Classifier:
    """Check that a model is an image classifier we can work on, and bring it to opset 20 with our interface names.

    A softmax at the end is cut off: the engine puts its own there, and calibration and comparison need logits.

    Raises:
        GraphError: more than one input or output, not NCHW float RGB, not square, not (N, classes), quantized already,
            operators of another domain, or a model that does not convert to opset 20.
    """
    graph = model.graph
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    if len(inputs) != 1 or len(graph.outputs) != 1:
        raise GraphError(f"a classifier has one input and one output; this has {len(inputs)} and {len(graph.outputs)}")
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear", "QLinearConv") for node in graph):
        raise GraphError("this model is quantized already", hint="Start from the FP32 model.")
    foreign = sorted({node.domain for node in graph if node.domain not in _STANDARD})
    if foreign or model.functions:
        raise GraphError(f"operators outside ONNX's own set are not supported ({', '.join(foreign) or 'functions'})")
    graph.inputs[:] = inputs  # before IR version 4, weights were listed as inputs too
    image_size, batch = _check_input(inputs[0])
    _cut_softmax(graph)
    classes = _check_output(graph.outputs[0])
    _rename(graph, inputs[0])
    core = _to_opset(model)
    _refuse_nan(core.graph)
    _name_nodes(core.graph)  # last: the conversion adds nodes without names
    return Classifier(core, image_size, classes, batch)


def _check_input(value: ir.Value) -> tuple[int | None, int | None]:
    dims = [] if value.shape is None else [dim if isinstance(dim, int) else None for dim in value.shape]
    described = f"input {value.name} is {value.dtype} {value.shape}"
    if value.dtype != ir.DataType.FLOAT or len(dims) != 4:
        raise GraphError(f"{described}, not a float32 NCHW batch of RGB images")
    if dims[1] != 3:
        hint = "It looks like NHWC: export it as NCHW." if dims[3] == 3 else None
        raise GraphError(f"{described}: the second dimension is not 3 channels", hint=hint)
    if dims[2] != dims[3]:
        raise GraphError(f"{described}: only square inputs are supported")
    return dims[2], dims[0]


def _check_output(value: ir.Value) -> int | None:
    if value.shape is None or len(value.shape) != 2:
        raise GraphError(f"output {value.name} is {value.shape}, not (N, classes): not a classifier")
    last = value.shape[1]
    return last if isinstance(last, int) else None


def _cut_softmax(graph: ir.Graph) -> None:
    last = graph.outputs[0].producer()
    if last is None or last.op_type not in ("Softmax", "LogSoftmax"):
        return
    logits = last.inputs[0]
    if last.op_type == "LogSoftmax" or logits is None:
        return  # log-probabilities are logits shifted by a constant: softmax of them is the same
    if logits.shape is None:
        logits.shape = graph.outputs[0].shape
    if logits.dtype is None:
        logits.type = ir.TensorType(ir.DataType.FLOAT)
    graph.outputs[0] = logits
    graph.remove(last, safe=True)


def _rename(graph: ir.Graph, images: ir.Value) -> None:
    taken = {value.name for node in graph for value in node.outputs} | set(graph.initializers)
    for value, name in ((images, INPUT), (graph.outputs[0], LOGITS)):
        if value.name != name and name in taken:
            raise GraphError(f"a tensor inside the model is called {name!r} already", hint="Rename it and try again.")
        value.name = name


def _name_nodes(graph: ir.Graph) -> None:
    counts: Counter[str] = Counter()
    for node in graph:
        if not node.name:
            counts[node.op_type] += 1
            node.name = f"{node.op_type}.{counts[node.op_type]}"


def _refuse_nan(graph: ir.Graph) -> None:
    for value in graph.initializers.values():
        if value.const_value is not None and value.const_value.dtype in _FLOATS:
            try:
                bad = bool(np.isnan(value.const_value.numpy()).any())
            except (ValueError, TypeError, LookupError, RuntimeError, OSError, BufferError) as exc:
                raise GraphError(f"the constant {value.name} cannot be read ({first_line(exc)})") from exc
            if bad:
                raise GraphError(f"the constant {value.name} holds a NaN", hint="Its training run diverged.")


def _to_opset(model: ir.Model) -> ir.Model:
    version = model.graph.opset_imports.get("", 0)
    model.ir_version = IR_VERSION  # first: below 4, the converter looks for the weights among the inputs
    if version < OPSET:
        try:
            model = ir.from_proto(convert_version(ir.to_proto(model), OPSET))
        except (ConvertError, RuntimeError, ValueError) as exc:
            raise GraphError(f"opset {version} does not convert to {OPSET} ({first_line(exc)})") from exc
    return model
