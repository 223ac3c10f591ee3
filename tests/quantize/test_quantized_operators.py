"""Quantization of what other people's graphs hold: MatMul, Gemm either way round, shared weights, taken names."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from resnest_edge.errors import GraphError
from resnest_edge.graph.model import to_bytes
from resnest_edge.quantize.insertion import quantize_graph, quantized_layers
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import Precision, QdqStyle
from tests.support.calibrated import calibrate
from tests.support.graphs import parse
from tests.support.onnx_run import run_ort, run_reference

PLACEMENT = Placement(QdqStyle.PORTABLE)
IMAGES = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
# Per channel of very different size, so that an axis taken wrongly leaves the small channel with nothing.
WEIGHT = np.array([[100, 0.1], [-80, 0.05], [33, -0.02], [-1, 0.07]], np.float32)


def linear(body: str, **constants: npt.NDArray[np.float32]) -> ir.Model:
    """A graph (N, 4) → (N, 2) over constants of the given values."""
    declared = ", ".join(
        f"float[{','.join(map(str, array.shape))}] {name} = {{{','.join(map(str, array.ravel()))}}}"
        for name, array in constants.items()
    )
    return parse(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[batch, 4] images) => (float[batch, 2] logits) <{declared}> {{ {body} }}
    """)


def quantize(model: ir.Model) -> ir.Model:
    result = quantize_graph(model, calibrate(model, PLACEMENT, IMAGES), PLACEMENT)
    onnx.checker.check_model(onnx.load_from_string(to_bytes(result)), full_check=True)
    return result


def relative_error(model: ir.Model, result: ir.Model) -> npt.NDArray[np.float32]:
    """Per logit, the largest difference over the largest value."""
    (expected,), (actual,) = run_reference(model, IMAGES), run_ort(result, IMAGES)
    error: npt.NDArray[np.float32] = np.abs(expected - actual).max(0) / np.abs(expected).max(0)
    return error


@pytest.mark.parametrize(
    ("body", "weight", "axis"),
    [
        ("logits = MatMul(images, w)", WEIGHT, 1),
        ("logits = Gemm(images, w)", WEIGHT, 1),
        ("logits = Gemm <transB = 0> (images, w)", WEIGHT, 1),
        ("logits = Gemm <transB = 1> (images, w)", np.ascontiguousarray(WEIGHT.T), 0),
    ],
)
def test_scales_stand_on_the_output_channels(body: str, weight: npt.NDArray[np.float32], axis: int) -> None:
    model = linear(body, w=weight)
    result = quantize(model)
    assert quantized_layers(result) == ["logits"]
    pair = next(node for node in result.graph if node.name == "w.dq")
    assert pair.attributes["axis"].value == axis
    assert result.graph.initializers["w.scale"].shape == ir.Shape([2])
    # Weight and activation each lose half a step of 127, over four terms.
    assert (relative_error(model, result) < 0.03).all()


@pytest.mark.parametrize("body", ["a = MatMul(images, s)  b = MatMul(a, s)", "a = MatMul(images, s)  b = Gemm(a, s)"])
def test_a_shared_weight_is_quantized_once(body: str) -> None:
    square = (WEIGHT @ WEIGHT.T / 1000).astype(np.float32)
    model = linear(f"{body}  logits = MatMul(b, w)", s=square, w=WEIGHT)
    result = quantize(model)
    assert quantized_layers(result) == ["a", "b", "logits"]
    assert sorted(name for name in result.graph.initializers if name.endswith(".q")) == ["s.q", "w.q"]
    assert len([node for node in result.graph if node.name == "s.dq"]) == 1
    assert "s" not in result.graph.initializers
    assert (relative_error(model, result) < 0.05).all()


def test_a_matrix_product_of_two_activations_stays_float() -> None:
    model = linear(
        "a = Transpose(images)  b = MatMul(images, a)  d = MatMul(b, images)  logits = MatMul(d, w)", w=WEIGHT
    )
    result = quantize(model)
    assert quantized_layers(result) == ["logits"]
    assert [node.name for node in result.graph if node.op_type == "QuantizeLinear"] == ["d.q"]


@pytest.mark.parametrize("name", ["images_scale", "w_zero_point", "w_q"])
def test_a_name_that_is_taken_is_refused_and_not_reused(name: str) -> None:
    """A constant of another meaning under the name of a scale would quietly become the scale."""
    model = linear("a = MatMul(images, w)  logits = Mul(a, taken)", w=WEIGHT, taken=np.array([3], np.float32))
    taken = model.graph.initializers["taken"]
    taken.name = ".".join(name.split("_", 1))
    with pytest.raises(GraphError, match=rf"constant named {name.replace('_', '.', 1)} already"):
        quantize(model)


def test_weights_are_quantized_from_fp32_not_from_rounded_fp16() -> None:
    """1 + 2⁻¹² rounds to 1 in FP16; its scale, rounded up, shows that FP32 was read."""
    weight = np.full((4, 2), 127 * (1 + 2.0**-12), np.float32)
    model = linear("logits = MatMul(images, w)", w=weight)
    placement = Placement(QdqStyle.PORTABLE, float_type=Precision.FP16)
    result = quantize_graph(model, calibrate(model, placement, IMAGES), placement)
    scale = result.graph.initializers["w.scale"].const_value
    assert scale is not None
    assert scale.numpy().tolist() == [1 + 2.0**-10] * 2
