"""What surrounds a core graph in an engine: preprocessing arithmetic before it, softmax behind it.

``x = (pixel − 255·mean) · 1/(255·std)`` in float32, so that a camera pipeline hands over raw pixels, and nvinfer's
one-scale preprocessing (DeepStream's ``net-scale-factor``) is not needed.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from resnest_edge.graph.model import DTYPES, INPUT, LOGITS, PROBABILITIES, add_initializer, add_node
from resnest_edge.spec import InputFormat, Precision, Preprocessing

NORMALISED = "preprocess.normalised"
"""Name of the normalised input in a folded graph: what the core graph calls ``images``."""

FLOAT_PIXELS, PLANAR_PIXELS = "preprocess.cast", "preprocess.planar"
"""Names of the two nodes that make planar float pixels of uint8 frames."""

_FLOAT = ir.DataType.FLOAT


def fold_interface(
    core: ir.Model,
    preprocessing: Preprocessing,
    *,
    input_format: InputFormat = InputFormat.UINT8_NHWC,
    float_type: Precision = Precision.FP32,
) -> ir.Model:
    """Give a core graph the engine's interface; the core is left as it was.

    Args:
        core: takes ``images``, gives ``logits``, both in ``float_type``.
        preprocessing: supplies mean, std and the network's channel order.
        input_format: what the engine's ``images`` takes, always RGB.
        float_type: number format of the core; normalisation and softmax stay float32.

    Returns:
        A graph of input ``images`` and outputs ``logits`` and ``probabilities``, both float32.
    """
    model = core.clone()
    _fold_input(model.graph, preprocessing, input_format, DTYPES[float_type])
    _fold_output(model.graph, DTYPES[float_type])
    model.graph.sort()
    return model


def _fold_input(graph: ir.Graph, preprocessing: Preprocessing, form: InputFormat, dtype: ir.DataType) -> None:
    core_input = graph.inputs[0]
    batch, channels, height, width = _dims(core_input)
    core_input.name = NORMALISED
    planar = ir.Shape([batch, channels, height, width])
    if form is InputFormat.UINT8_NHWC:
        shape = ir.Shape([batch, height, width, channels])
        value = ir.Value(name=INPUT, type=ir.TensorType(ir.DataType.UINT8), shape=shape)
        graph.inputs[0] = value
        value = add_node(graph, "Cast", [value], FLOAT_PIXELS, _FLOAT, shape, {"to": int(_FLOAT)})
        value = add_node(graph, "Transpose", [value], PLANAR_PIXELS, _FLOAT, planar, {"perm": [0, 3, 1, 2]})
    else:
        value = ir.Value(name=INPUT, type=ir.TensorType(_FLOAT), shape=planar)
        graph.inputs[0] = value
    if preprocessing.color == "bgr":
        order = add_initializer(graph, "preprocess.bgr", np.array([2, 1, 0]), ir.DataType.INT64)
        value = add_node(graph, "Gather", [value, order], "preprocess.reorder", _FLOAT, planar, {"axis": 1})
    mean = 255.0 * np.reshape(preprocessing.mean, (1, 3, 1, 1))
    scale = 1.0 / (255.0 * np.reshape(preprocessing.std, (1, 3, 1, 1)))
    value = add_node(
        graph,
        "Sub",
        [value, add_initializer(graph, "preprocess.mean", mean, _FLOAT)],
        "preprocess.centred",
        _FLOAT,
        planar,
    )
    name = "preprocess.scaled" if dtype != _FLOAT else NORMALISED
    value = add_node(
        graph, "Mul", [value, add_initializer(graph, "preprocess.scale", scale, _FLOAT)], name, _FLOAT, planar
    )
    if dtype != _FLOAT:
        value = add_node(graph, "Cast", [value], NORMALISED, dtype, planar, {"to": int(dtype)})
    core_input.name = "preprocess.replaced"
    core_input.replace_all_uses_with(value)


def _fold_output(graph: ir.Graph, dtype: ir.DataType) -> None:
    logits = graph.outputs[0]
    if dtype != _FLOAT:
        logits.name = "classifier.logits"
        logits = add_node(graph, "Cast", [logits], LOGITS, _FLOAT, logits.shape, {"to": int(_FLOAT)})
        graph.outputs[0] = logits
    graph.outputs.append(add_node(graph, "Softmax", [logits], PROBABILITIES, _FLOAT, logits.shape, {"axis": -1}))


def _dims(value: ir.Value) -> list[int | str | None]:
    shape = value.shape
    assert shape is not None and len(shape) == 4, "a core graph's input is NCHW"
    return [dim if isinstance(dim, int) else dim.value for dim in shape]
