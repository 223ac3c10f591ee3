"""The zero points of an ONNX file, read without the onnx package, against files that the onnx package wrote."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from resnest_edge.backends.tensorrt.zero_points import check_zero_points
from resnest_edge.errors import GraphError

WHERE = Path("model.onnx")


def model(dtype: type, *, zero_points: bool = True, padding: int = 0) -> bytes:
    """A float tensor through one Q/DQ pair, beside a constant of ``padding`` bytes."""
    names = ["scale", "zero"] if zero_points else ["scale"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *names], ["q"], name="the.q"),
        helper.make_node("DequantizeLinear", ["q", *names], ["y"], name="the.dq"),
    ]
    constants = [
        numpy_helper.from_array(np.zeros(padding, np.uint8), "padding"),
        numpy_helper.from_array(np.array(0.5, np.float32), "scale"),
        numpy_helper.from_array(np.array(0, dtype), "zero"),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize("padding", [0, 127, 128, 100_000])
def test_int8_passes_wherever_it_stands(padding: int) -> None:
    check_zero_points(model(np.int8, padding=padding), WHERE)


@pytest.mark.parametrize(("dtype", "word"), [(np.uint8, "a uint8"), (np.int16, "an int16"), (np.uint16, "a uint16")])
def test_other_types_are_refused_and_the_node_is_named(dtype: type, word: str) -> None:
    with pytest.raises(GraphError, match=f"QuantizeLinear the.q has {word} zero point") as caught:
        check_zero_points(model(dtype), WHERE)
    assert caught.value.where == str(WHERE)


def test_no_zero_point_is_uint8_by_definition() -> None:
    """ONNX QuantizeLinear: "default is uint8 if zero point is not specified"."""
    with pytest.raises(GraphError, match=r"the\.q has no constant zero point"):
        check_zero_points(model(np.int8, zero_points=False), WHERE)


def test_a_graph_without_qdq_passes() -> None:
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "graph", [], [])
    check_zero_points(helper.make_model(graph).SerializeToString(), WHERE)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_model_or_a_graph_error(data: bytes) -> None:
    with contextlib.suppress(GraphError):
        check_zero_points(data, WHERE)


@given(st.data())
def test_a_model_cut_short_never_passes_for_whole(data: st.DataObject) -> None:
    """Cut anywhere inside the graph, the reader must not miss the uint8 behind the cut."""
    whole = model(np.uint8)
    start = whole.index(b"the.q")
    with pytest.raises(GraphError):
        check_zero_points(whole[: data.draw(st.integers(start, len(whole) - 8))], WHERE)
