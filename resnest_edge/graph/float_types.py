"""FP32 core graph to an FP16 or BF16 typed graph: every float tensor changes type, no builder flag decides."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from resnest_edge.errors import GraphError, UsageError
from resnest_edge.graph.model import DTYPES, OPSET_BF16
from resnest_edge.spec import Precision

_FLOAT = ir.DataType.FLOAT


def convert_floats(core: ir.Model, float_type: Precision) -> ir.Model:
    """Retype every float32 tensor of a core graph; the core is left as it was.

    Values round to nearest even, so FP16 turns weights of 2⁻²⁵ and less into zero.

    Raises:
        UsageError: ``float_type`` is INT8, which is no float type.
        GraphError: a finite constant does not fit the type (FP16 ends at ±65504); the message names it.
    """
    if float_type not in DTYPES:
        raise UsageError(f"{float_type} is not a float type")
    model = core.clone()
    if float_type is Precision.FP32:
        return model
    dtype = DTYPES[float_type]
    for value in model.graph.initializers.values():
        if value.dtype == _FLOAT:
            _retype_constant(value, dtype)
    for node in model.graph:
        _retype_attributes(node, dtype)
        for value in node.outputs:
            if value.dtype == _FLOAT:
                value.type = ir.TensorType(dtype)
    for value in model.graph.inputs:
        if value.dtype == _FLOAT:
            value.type = ir.TensorType(dtype)
    if float_type is Precision.BF16:
        model.graph.opset_imports[""] = max(OPSET_BF16, model.graph.opset_imports[""])
    return model


def _retype_constant(value: ir.Value, dtype: ir.DataType) -> None:
    tensor = value.const_value
    if tensor is None:
        raise GraphError(f"constant {value.name} has no value")
    value.const_value = _cast(tensor.numpy(), dtype, value.name or "")
    value.type = ir.TensorType(dtype)


def _retype_attributes(node: ir.Node, dtype: ir.DataType) -> None:
    """``Cast(to=float32)`` and float ``Constant`` nodes, which imported graphs may hold, follow the retyping."""
    target = node.attributes.get("to")
    if node.op_type == "Cast" and target is not None and target.value == _FLOAT:
        node.attributes["to"] = ir.AttrInt64("to", int(dtype))
    constant = node.attributes.get("value")
    if node.op_type in ("Constant", "ConstantOfShape") and constant is not None and constant.value.dtype == _FLOAT:
        node.attributes["value"] = ir.AttrTensor("value", _cast(constant.value.numpy(), dtype, node.name or ""))


def _cast(array: np.ndarray, dtype: ir.DataType, name: str) -> ir.TensorProtocol:
    with np.errstate(over="ignore"):
        cast = array.astype(dtype.numpy())
    lost = array[np.isfinite(array) & ~np.isfinite(cast.astype(np.float32))]
    if lost.size:
        largest = float(np.abs(lost).max())
        raise GraphError(
            f"constant {name} reaches {largest:.3g}, beyond {dtype.name}", hint="Use --precision bf16 or fp32."
        )
    return ir.tensor(cast, dtype=dtype, name=name)
