"""Bias correction: the error it measures is the one NumPy computes, and what noise could explain is left alone."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from resnest_edge.calibration.scales import Scales
from resnest_edge.errors import ScalesError
from resnest_edge.graph.model import digest
from resnest_edge.grid import Grid
from resnest_edge.quantize.bias import InputMeans, correction, shift_biases
from resnest_edge.quantize.insertion import quantize_graph, quantized_layers, written_grid, written_weight
from resnest_edge.quantize.layer_errors import error_graph
from resnest_edge.quantize.layer_inputs import CorrectedLayer, as_matrix, corrected_layers
from resnest_edge.quantize.placement import Placement
from resnest_edge.quantize.weights import quantize_weight
from resnest_edge.spec import QdqStyle
from tests.support.calibrated import calibrate, pictures, tiny_scales
from tests.support.graphs import parse
from tests.support.onnx_run import run_ort
from tests.support.tiny import KINDS, tiny_core

PORTABLE, CPU = Placement(QdqStyle.PORTABLE), Placement(QdqStyle.CPU, weight_bits=7)


def errors_of(core: ir.Model, quantized: ir.Model, count: int = 6) -> dict[str, np.ndarray]:
    model, layers = error_graph(core, quantized)
    outputs = [value.name or "" for value in model.graph.outputs]
    return dict(zip(layers, run_ort(model, pictures(count), outputs), strict=True))


@pytest.mark.parametrize("placement", [PORTABLE, CPU], ids=["portable", "cpu"])
def test_the_error_of_a_layer_is_the_one_numpy_and_pytorch_compute(placement: Placement) -> None:
    tiny = tiny_core()
    scales = tiny_scales(tiny, placement)
    found = errors_of(tiny.core, quantize_graph(tiny.core, scales, placement))
    node = next(node for node in tiny.core.graph if node.name == "layer1.0.split_attention.conv.1")
    source, weight, bias = node.inputs
    assert source is not None and weight is not None and bias is not None
    (values,) = run_ort(tiny.core, pictures(6), [source.name or ""])
    kept = scales.ranges[source.name or ""]
    rounded = Grid.covering(kept.low, kept.high, placement.style).round_trip(values.astype(np.float64))
    assert weight.const_value is not None
    kernel = weight.const_value.numpy()
    integers, steps = quantize_weight(kernel, 0, limit=placement.weight_limit, scale_dtype=np.dtype(np.float32))
    difference = torch.nn.functional.conv2d(
        torch.from_numpy(rounded), torch.from_numpy(integers * steps.astype(np.float64).reshape(-1, 1, 1, 1)), padding=1
    ) - torch.nn.functional.conv2d(
        torch.from_numpy(values.astype(np.float64)), torch.from_numpy(kernel.astype(np.float64)), padding=1
    )
    # float32 sums of a few hundred products of order one
    np.testing.assert_allclose(found["layer1.0.split_attention.conv.1"], difference.mean((2, 3)).numpy(), atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_quantized_layer_is_measured_and_corrected(kind: str) -> None:
    tiny = tiny_core(**KINDS[kind])
    scales = tiny_scales(tiny, PORTABLE)
    quantized = quantize_graph(tiny.core, scales, PORTABLE)
    before = errors_of(tiny.core, quantized)
    assert sorted(before) == sorted(quantized_layers(quantized))
    corrections = {layer: tuple(values.mean(0).tolist()) for layer, values in before.items()}
    shifted = quantize_graph(shift_biases(tiny.core, corrections), scales, PORTABLE)
    for layer, values in errors_of(tiny.core, shifted).items():
        # the weights and inputs are rounded as before, so the mean error is gone but for float32 rounding
        assert np.abs(values.mean(0)).max() <= 1e-5 + 0.01 * np.abs(before[layer].mean(0)).max()


def test_the_core_is_left_as_it_was() -> None:
    tiny = tiny_core()
    before = digest(tiny.core)
    shift_biases(tiny.core, {"fc": (1.0,) * 7})
    assert digest(tiny.core) == before
    assert shift_biases(tiny.core, {}) is tiny.core


def test_a_layer_without_bias_gets_one() -> None:
    model = parse("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[n, 2, 2, 2] images) => (float[n, 2, 2, 2] logits)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}> { logits = Conv (images, w) }
    """)
    next(iter(model.graph)).name = "conv"
    images = np.ones((1, 2, 2, 2), np.float32)
    (plain,) = run_ort(model, images)
    (shifted,) = run_ort(shift_biases(model, {"conv": (1.0, -2.0)}), images)
    np.testing.assert_array_equal(plain - shifted, np.broadcast_to(np.array([1, -2]).reshape(1, 2, 1, 1), (1, 2, 2, 2)))


@pytest.mark.parametrize(
    ("corrections", "message"),
    [({"nobody": (1.0,)}, "nobody that is not in this graph"), ({"fc": (1.0,)}, "fc has 7 channels.*correction 1")],
)
def test_corrections_of_another_graph_are_refused(corrections: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(ScalesError, match=message):
        shift_biases(tiny_core().core, corrections)


def test_a_scaled_bias_is_left_alone() -> None:
    """Gemm multiplies its bias by β: what would be taken from it is not what comes out."""
    body = "logits = Gemm <beta = {beta}, transB = 1> (images, w, b)"
    for beta, expected in (("1.0", 1), ("0.5", 0)):
        model = parse(f"""
            <ir_version: 10, opset_import: ["" : 20]>
            g (float[n, 3] images) => (float[n, 2] logits)
            <float[2, 3] w = {{1, 2, 3, 4, 5, 6}}, float[2] b = {{1, 2}}> {{ {body.format(beta=beta)} }}
        """)
        images = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
        quantized = quantize_graph(model, calibrate(model, PORTABLE, images), PORTABLE)
        assert len(error_graph(model, quantized)[1]) == len(corrected_layers(model, PORTABLE)) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("placement", [PORTABLE, CPU], ids=["portable", "cpu"])
def test_errors_from_means_are_those_of_the_layers_themselves(kind: str, placement: Placement) -> None:
    tiny = tiny_core(**KINDS[kind])
    scales = tiny_scales(tiny, placement)
    expected = errors_of(tiny.core, quantize_graph(tiny.core, scales, placement))
    layers = corrected_layers(tiny.core, placement)
    assert sorted(layer.name for layer in layers) == sorted(expected)
    tensors = list(dict.fromkeys(layer.input.tensor for layer in layers))
    values = dict(zip(tensors, run_ort(tiny.core, pictures(6), tensors), strict=True))
    for layer in layers:
        found = from_means(tiny.core, layer, scales, placement, values[layer.input.tensor])
        np.testing.assert_allclose(found, expected[layer.name], atol=2e-5)  # float32 sums in the layers' own outputs


def from_means(
    core: ir.Model, layer: CorrectedLayer, scales: Scales, placement: Placement, values: np.ndarray
) -> np.ndarray:
    """A layer's mean errors by its input's means, the images in two batches."""
    constant = core.graph.initializers[layer.weight].const_value
    assert constant is not None
    integers, steps = written_weight(layer.weight, constant.numpy(), layer.axis, scales, placement)
    quantized = np.moveaxis(integers.astype(np.float64), layer.axis, -1) * steps.astype(np.float64)
    grid, means = written_grid(scales, layer.input.tensor, placement), InputMeans()
    for batch in (values[:2], values[2:]):
        means.update(layer.input.means(batch), layer.input.means(grid.errors(batch)))
    matrices = [
        as_matrix(weight, layer.axis, layer.input.groups)
        for weight in (constant.numpy().astype(np.float64), np.moveaxis(quantized, -1, layer.axis))
    ]
    return means.output_errors(*matrices)


def test_a_constant_error_is_taken_out_whole_and_noise_is_not() -> None:
    noise = np.random.default_rng(0).standard_normal((16, 400))
    np.testing.assert_allclose(correction(np.full((16, 2), [0.5, -3.0])), [0.5, -3.0])
    corrected = np.asarray(correction(noise))
    # a mean of 16 values that are nothing but noise has 1/16 of their variance; shrunk, well under half of that
    assert np.square(corrected).mean() < 0.5 / 16
    assert (corrected == 0).mean() > 0.5
