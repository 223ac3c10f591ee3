"""The graph as nvinfer takes it, against the folding that writes that interface, and against the graph it came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from resnest_edge.errors import GraphError
from resnest_edge.graph.float_types import convert_floats
from resnest_edge.graph.folding import fold_interface
from resnest_edge.graph.model import to_bytes
from resnest_edge.graph.planar import planar_probabilities
from resnest_edge.spec import InputFormat, Precision, Preprocessing
from tests.support.onnx_run import run_ort
from tests.support.tiny import IMAGE_SIZE, tiny_core

MEAN, STD = (0.2, 0.5, 0.7), (0.1, 0.25, 0.4)


def folded(form: InputFormat, color: str = "rgb", precision: Precision = Precision.FP32) -> ir.Model:
    how = Preprocessing(image_size=IMAGE_SIZE, resize=IMAGE_SIZE, mean=MEAN, std=STD, color=color)
    core = convert_floats(tiny_core().core, precision)
    return fold_interface(core, how, input_format=form, float_type=precision)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_the_answers_are_those_of_the_graph_it_came_from(color: str, precision: Precision) -> None:
    source = folded(InputFormat.UINT8_NHWC, color, precision)
    before = to_bytes(source)
    frames = np.random.default_rng(0).integers(0, 256, (4, IMAGE_SIZE, IMAGE_SIZE, 3)).astype(np.uint8)
    planar: Any = np.ascontiguousarray(frames.transpose(0, 3, 1, 2), dtype=np.float32)
    result = planar_probabilities(source)
    (probabilities,) = run_ort(result, planar)
    np.testing.assert_array_equal(probabilities, run_ort(source, frames)[1])
    assert to_bytes(source) == before  # the source is left as it was


@pytest.mark.parametrize("form", InputFormat)
def test_it_is_the_float_interface_with_one_output(form: InputFormat) -> None:
    proto = onnx.load_from_string(to_bytes(planar_probabilities(folded(form))))
    onnx.checker.check_model(proto, full_check=True)
    expected = onnx.load_from_string(to_bytes(folded(InputFormat.FLOAT_NCHW)))
    assert proto.graph.input == expected.graph.input
    assert [value.name for value in proto.graph.output] == ["probabilities"]
    assert sorted(node.op_type for node in proto.graph.node) == sorted(node.op_type for node in expected.graph.node)


def test_other_graphs_are_refused() -> None:
    with pytest.raises(GraphError, match="does not take images"):
        planar_probabilities(tiny_core().core)
    strange = folded(InputFormat.UINT8_NHWC)
    next(node for node in strange.graph if node.name == "preprocess.cast").name = "other"
    with pytest.raises(GraphError, match="cast and a transpose"):
        planar_probabilities(strange)
