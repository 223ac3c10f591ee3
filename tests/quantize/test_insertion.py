"""Q/DQ in a tiny ResNeSt of each block kind: where it stands, which style it has, and that two runtimes agree on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from resnest_edge.errors import GraphError, ScalesError
from resnest_edge.graph.folding import fold_interface
from resnest_edge.graph.model import DTYPES, digest, to_bytes
from resnest_edge.quantize.insertion import activation_tensors, quantize_graph, quantized_layers
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import Precision, Preprocessing, QdqStyle
from tests.support.calibrated import pictures, tiny_scales
from tests.support.onnx_run import run_ort, run_reference
from tests.support.tiny import KINDS, Tiny, tiny_core

PORTABLE, CPU = Placement(QdqStyle.PORTABLE), Placement(QdqStyle.CPU)
PLACEMENTS = {"portable": PORTABLE, "cpu": CPU}
Array = npt.NDArray[np.float32]


@pytest.fixture(params=KINDS)
def tiny(request: pytest.FixtureRequest) -> Tiny:
    return tiny_core(**KINDS[request.param])


@pytest.fixture(params=PLACEMENTS)
def placement(request: pytest.FixtureRequest) -> Placement:
    return PLACEMENTS[request.param]


def quantized(tiny: Tiny, placement: Placement) -> ir.Model:
    return quantize_graph(tiny.core, tiny_scales(tiny, placement), placement)


def producer(value: ir.Value | None) -> str:
    """Operator that gives a value; empty for inputs and constants."""
    node = None if value is None else value.producer()
    return "" if node is None else node.op_type


def in_attention(node: ir.Node) -> bool:
    return ".attention." in (node.name or "") and node.op_type not in ("QuantizeLinear", "DequantizeLinear")


def sqnr(reference: Array, candidate: Array) -> float:
    """Signal to quantization noise of the logits, dB."""
    return float(10 * np.log10(np.square(reference).sum() / np.square(reference - candidate).sum()))


def test_every_weighted_layer_is_quantized(tiny: Tiny, placement: Placement) -> None:
    layers = [node.name for node in tiny.core.graph if node.op_type in ("Conv", "Gemm")]
    assert quantized_layers(quantized(tiny, placement)) == layers
    assert quantized_layers(tiny.core) == []


def test_one_input_of_each_residual_add_is_quantized(tiny: Tiny, placement: Placement) -> None:
    model = quantized(tiny, placement)
    adds = [node for node in model.graph if node.op_type == "Add" and not in_attention(node)]
    assert len(adds) == sum(1 for name, _ in tiny.module.named_modules() if name.endswith(".conv3") and "layer" in name)
    for add in adds:
        assert sorted(map(producer, add.inputs)) == ["Conv", "DequantizeLinear"], add.name
        side = next(value for value in add.inputs if producer(value) == "Conv")
        assert side is not None
        conv = side.producer()
        assert conv is not None
        assert (conv.name or "").endswith(".conv3"), "the main branch fuses with the add, the shortcut does not"


def test_nothing_is_quantized_inside_the_gate(tiny: Tiny, placement: Placement) -> None:
    gate = [node for node in quantized(tiny, placement).graph if in_attention(node) and node.op_type != "Conv"]
    assert bool(gate) == any(name.endswith(".attention") for name, _ in tiny.module.named_modules())
    for node in gate:
        assert "DequantizeLinear" not in map(producer, node.inputs), node.name


def test_a_tensor_is_quantized_once_for_all_its_readers() -> None:
    tiny = tiny_core(blocks=3)
    model = quantized(tiny, PORTABLE)
    sources = Counter(
        node.inputs[0].name for node in model.graph if node.op_type == "QuantizeLinear" and node.inputs[0]
    )
    assert set(sources.values()) == {1}
    (pair,) = [node for node in model.graph if node.name == "layer2.0.Relu.3.out.dq"]
    readers = {node.name for node, _ in pair.outputs[0].uses()}
    # The block's output feeds both splits' 1×1 convolutions and, as the identity shortcut, the add.
    assert readers == {"layer2.1.conv1.0", "layer2.1.conv1.1", "layer2.1.Add"}


def test_ranges_are_asked_for_exactly_what_is_quantized(tiny: Tiny, placement: Placement) -> None:
    names = activation_tensors(tiny.core, placement)
    model = quantized(tiny, placement)
    assert [node.inputs[0].name for node in model.graph if node.op_type == "QuantizeLinear" and node.inputs[0]]
    assert {node.inputs[0].name for node in model.graph if node.op_type == "QuantizeLinear" and node.inputs[0]} == set(
        names
    )
    assert len(names) == len(set(names))
    assert names[0] == "images"


def test_portable_is_signed_with_every_zero_point_0(tiny: Tiny) -> None:
    model = quantized(tiny, PORTABLE)
    values = [*model.graph.initializers.values(), *(value for node in model.graph for value in node.outputs)]
    assert ir.DataType.UINT8 not in {value.dtype for value in values}
    points = [node.inputs[2] for node in model.graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for point in points:
        assert point is not None
        assert point.const_value is not None
        assert point.dtype == ir.DataType.INT8
        assert not point.const_value.numpy().any()


def test_cpu_has_unsigned_activations_and_signed_weights(tiny: Tiny) -> None:
    model = quantized(tiny, CPU)
    scales = tiny_scales(tiny, CPU)
    asymmetric = 0
    for node in model.graph:
        if node.op_type == "QuantizeLinear":
            point, source = node.inputs[2], node.inputs[0]
            assert point is not None
            assert point.const_value is not None
            assert source is not None
            assert node.outputs[0].dtype == point.dtype == ir.DataType.UINT8
            below_zero = scales.ranges[source.name or ""].low < 0
            assert bool(point.const_value.numpy()) == below_zero
            asymmetric += below_zero
        elif node.op_type == "DequantizeLinear" and (node.name or "").endswith(".weight.dq"):
            assert node.inputs[0] is not None
            assert node.inputs[0].dtype == ir.DataType.INT8
    assert asymmetric >= 1, "the input at least is signed"


def test_float_weights_are_gone_and_biases_kept(tiny: Tiny, placement: Placement) -> None:
    model = quantized(tiny, placement)
    names = set(model.graph.initializers)
    assert not [name for name in names if name.endswith(".weight")]
    biases = {name for name in tiny.core.graph.initializers if name.endswith(".bias")}
    assert biases
    assert biases <= names


@pytest.mark.parametrize("bits", [7, 8])
def test_weights_use_the_bits_they_are_given(bits: int) -> None:
    model = quantized(tiny_core(blocks=3), replace(PORTABLE, weight_bits=bits))
    tensors = [value.const_value for name, value in model.graph.initializers.items() if name.endswith(".weight.q")]
    largest = {int(np.abs(tensor.numpy().astype(int)).max()) for tensor in tensors if tensor is not None}
    assert largest == {{7: 64, 8: 127}[bits]}


@pytest.mark.parametrize("float_type", list(DTYPES))
@pytest.mark.parametrize("style", list(QdqStyle))
def test_the_folded_int8_graph_is_well_typed(style: QdqStyle, float_type: Precision) -> None:
    placement = Placement(style, float_type=float_type)
    model = quantized(tiny_core(blocks=3), placement)
    folded = fold_interface(model, Preprocessing(), float_type=float_type)
    onnx.checker.check_model(onnx.load_from_string(to_bytes(folded)), full_check=True)
    assert folded.graph.opset_imports[""] == (22 if float_type is Precision.BF16 else 20)
    for node in model.graph:
        if node.op_type == "DequantizeLinear":
            assert node.inputs[1] is not None
            assert node.inputs[1].dtype == node.outputs[0].dtype == DTYPES[float_type]


def test_the_reference_evaluator_and_onnx_runtime_agree(tiny: Tiny, placement: Placement) -> None:
    images = pictures(6, seed=1)
    model = quantized(tiny, placement)
    (expected,), (actual,) = run_reference(model, images), run_ort(model, images)
    difference = np.abs(expected - actual).max(1) / expected.std()
    # Both add in float32 in their own order, so a value within 1e-6 of a tie may round the other way, once in some
    # ten thousand: one step in one picture. Most pictures meet none.
    assert np.median(difference) < 1e-4
    assert difference.max() < 0.05


def test_quantized_logits_stay_close_to_fp32(tiny: Tiny, placement: Placement) -> None:
    images = pictures(32, seed=2)
    (expected,), (actual,) = run_ort(tiny.core, images), run_ort(quantized(tiny, placement), images)
    assert sqnr(expected, actual) > 20
    # The logits of other pictures are no answer: what differs between pictures survives as well.
    assert sqnr(expected, np.roll(actual, 1, axis=0)) < sqnr(expected, actual) - 10


def test_the_first_convolution_is_numpys(placement: Placement) -> None:
    """Written again from the definition: quantize the pixels and the weight, dequantize, convolve in float64."""
    tiny = tiny_core(blocks=3)
    images = pictures(2, seed=3)
    scales = tiny_scales(tiny, placement).ranges["images"]
    low, high = scales.low, scales.high
    if placement.style is QdqStyle.PORTABLE:
        step, zero, least, most = np.float32(max(-low, high) / 127), 0, -128, 127
    else:
        step, least, most = np.float32((high - low) / 255), 0, 255
        zero = round(-low / ((high - low) / 255))
    pixels = (np.clip(np.rint(images / step) + zero, least, most) - zero) * float(step)
    constants = tiny.core.graph.initializers
    kernel, bias = (constants[f"stem.conv1.{part}"].const_value for part in ("weight", "bias"))
    assert kernel is not None
    assert bias is not None
    weight = kernel.numpy().astype(np.float64)
    sizes = np.abs(weight).max((1, 2, 3), keepdims=True) / 127
    weight = np.rint(weight / sizes) * sizes
    padded = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2, ::2]
    expected = np.einsum("nchwij,ocij->nohw", windows, weight) + bias.numpy()[:, None, None]
    (actual,) = run_ort(quantized(tiny, placement), images, ["stem.conv1.out"])
    # Scales are rounded up by at most 2⁻²³, sums of 27 products in float32.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * expected.std())


def test_the_core_is_left_as_it_was(placement: Placement) -> None:
    tiny = tiny_core(blocks=3)
    before = digest(tiny.core)
    first = quantized(tiny, placement)
    assert digest(tiny.core) == before
    assert to_bytes(quantized(tiny, placement)) == to_bytes(first)


def test_quantizing_twice_is_refused(placement: Placement) -> None:
    tiny = tiny_core(blocks=3)
    with pytest.raises(GraphError, match="quantized already"):
        quantize_graph(quantized(tiny, placement), tiny_scales(tiny, placement), placement)


def test_a_tensor_without_a_range_is_named() -> None:
    tiny = tiny_core(blocks=3)
    scales = tiny_scales(tiny, PORTABLE)
    ranges = {name: span for name, span in scales.ranges.items() if name != "layer2.0.Relu.3.out"}
    with pytest.raises(ScalesError, match=r"tensor layer2\.0\.Relu\.3\.out was not calibrated"):
        quantize_graph(tiny.core, replace(scales, ranges=ranges), PORTABLE)


def test_a_range_whose_scale_fp16_cannot_hold_is_named() -> None:
    tiny = tiny_core(blocks=3)
    scales = tiny_scales(tiny, PORTABLE)
    ranges = {**scales.ranges, "images": replace(scales.ranges["images"], high=1e7)}
    with pytest.raises(ScalesError, match=r"tensor images .*fp16"):
        quantize_graph(tiny.core, replace(scales, ranges=ranges), replace(PORTABLE, float_type=Precision.FP16))
    quantize_graph(tiny.core, replace(scales, ranges=ranges), replace(PORTABLE, float_type=Precision.BF16))


def test_outputs_and_elementwise_reach_the_gate() -> None:
    """A placement that asks for more: every weighted layer's result, and the gate's products, in INT8."""
    tiny = tiny_core(blocks=3)
    placement = replace(CPU, outputs=True, elementwise=frozenset({"Add", "Mul"}))
    model = quantized(tiny, placement)
    for node in model.graph:
        if node.op_type in ("Add", "Mul"):
            assert set(map(producer, node.inputs)) == {"DequantizeLinear"}, node.name
    (expected,), (actual,) = run_ort(tiny.core, pictures(16)), run_ort(model, pictures(16))
    assert sqnr(expected, actual) > 20
