"""Open dimensions decided: batch and image size written into a graph, and only there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from resnest_edge.graph.model import digest, to_bytes
from resnest_edge.graph.shapes import with_shape
from resnest_edge.spec import BatchRange
from tests.support.graphs import parse
from tests.support.onnx_run import run_ort
from tests.support.tiny import IMAGE_SIZE, tiny_core

OPEN = """
    <ir_version: 10, opset_import: ["" : 20]>
    g (float[n, 3, height, width] images) => (float[n, 3] logits)
    { a = Relu(images)  b = GlobalAveragePool(a)  logits = Flatten(b) }
"""


def pictures(batch: int, size: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((batch, 3, size, size)).astype(np.float32)


@pytest.mark.parametrize(("batch", "first"), [("1:4:8", "batch"), ("3", "3")])
def test_the_whole_graph_has_the_shape_that_was_asked_for(batch: str, first: str) -> None:
    core = tiny_core(blocks=3).core
    model = with_shape(core, BatchRange.parse(batch), IMAGE_SIZE)
    onnx.checker.check_model(onnx.load_from_string(to_bytes(model)), full_check=True)
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    assert {str(value.shape).strip("[]").split(",")[0] for value in values} == {first}
    np.testing.assert_array_equal(run_ort(model, pictures(3, IMAGE_SIZE)), run_ort(core, pictures(3, IMAGE_SIZE)))


def test_a_fixed_batch_takes_no_other() -> None:
    model = with_shape(tiny_core(blocks=3).core, BatchRange.parse("3"), IMAGE_SIZE)
    with pytest.raises(Exception, match="invalid dimensions"):
        run_ort(model, pictures(2, IMAGE_SIZE))


@pytest.mark.parametrize("batch", ["2", "1:2:4"])
def test_open_sides_are_closed(batch: str) -> None:
    core = parse(OPEN)
    model = with_shape(core, BatchRange.parse(batch), 6)
    first = "2" if batch == "2" else "batch"
    assert str(model.graph.inputs[0].shape) == f"[{first},3,6,6]"
    assert str(model.graph.outputs[0].shape) == f"[{first},3]"
    inside = " ".join(str(value.shape) for node in model.graph for value in node.outputs)
    assert "height" not in inside, "a hint that contradicts the input"
    onnx.checker.check_model(onnx.load_from_string(to_bytes(model)), full_check=True)
    np.testing.assert_array_equal(run_ort(model, pictures(2, 6)), run_ort(core, pictures(2, 6)))


def test_the_core_is_left_as_it_was() -> None:
    for core in (tiny_core(blocks=3).core, parse(OPEN)):
        before = digest(core)
        with_shape(core, BatchRange.parse("2"), IMAGE_SIZE)
        assert digest(core) == before


def test_another_name_of_the_batch_dimension_is_replaced() -> None:
    text = OPEN.replace("height, width", "6, 6")
    model = with_shape(parse(text), BatchRange.parse("1:2:4"), 6)
    names = {str(dim) for node in model.graph for value in node.outputs for dim in value.shape or ir.Shape([])}
    assert "n" not in names
    assert "batch" in names
