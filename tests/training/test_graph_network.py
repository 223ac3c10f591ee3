"""The network that is trained computes what the exported graph says, and its gradient is the straight-through one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from resnest_edge.errors import GraphError
from resnest_edge.quantize.bias import shift_biases
from resnest_edge.quantize.insertion import quantize_graph
from resnest_edge.quantize.placement import ELEMENTWISE, Placement
from resnest_edge.quantize.weights import quantize_weight
from resnest_edge.spec import QdqStyle
from resnest_edge.training.fake_quant import fake_quantize, fake_quantize_weight
from resnest_edge.training.graph_network import GraphNetwork
from tests.support.calibrated import pictures, tiny_scales
from tests.support.onnx_run import run_ort, run_reference
from tests.support.tiny import KINDS, tiny_core

PLACEMENTS = {
    "cpu": Placement(QdqStyle.CPU),
    "portable": Placement(QdqStyle.PORTABLE, weight_bits=7),
    "everything": Placement(QdqStyle.CPU, outputs=True, elementwise=ELEMENTWISE),
    "4 bits": Placement(QdqStyle.PORTABLE, weight_bits=4),
    "two in float": Placement(QdqStyle.CPU, keep_float=frozenset({"stem.conv2", "fc"})),
}
TRAINED_KINDS = [kind for kind in KINDS if kind not in ("grouped", "dense")]


@pytest.mark.parametrize("placement", PLACEMENTS.values(), ids=PLACEMENTS)
@pytest.mark.parametrize("kind", TRAINED_KINDS)
def test_the_trained_network_computes_the_exported_graph(kind: str, placement: Placement) -> None:
    tiny = tiny_core(**KINDS[kind])
    core = shift_biases(tiny.core, {"fc": (0.1,) * 7})
    quantized = quantize_graph(core, tiny_scales(tiny, placement), placement)
    images = pictures(4)
    network = GraphNetwork(core, quantized, placement)
    with torch.no_grad():
        answered = network(torch.from_numpy(images)).numpy()
    (expected,) = run_ort(quantized, images)
    (float_logits,) = run_ort(core, images)
    effect = np.abs(expected - float_logits).max()
    # float32 sums in another order; one value of a tensor may round the other way, a step of 1/127 of its range
    assert np.abs(answered - expected).max() <= 0.05 * effect


def test_onnx_own_evaluator_agrees() -> None:
    tiny, placement = tiny_core(), PLACEMENTS["cpu"]
    quantized = quantize_graph(tiny.core, tiny_scales(tiny, placement), placement)
    images = pictures(2)
    with torch.no_grad():
        answered = GraphNetwork(tiny.core, quantized, placement)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(answered, run_reference(quantized, images)[0], atol=2e-3)


def test_every_weight_and_bias_is_trained_and_nothing_else() -> None:
    tiny, placement = tiny_core(), PLACEMENTS["cpu"]
    quantized = quantize_graph(tiny.core, tiny_scales(tiny, placement), placement)
    network = GraphNetwork(tiny.core, quantized, placement)
    assert set(network.folded()) == set(tiny.module.state_dict())
    network(torch.from_numpy(pictures(4))).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert name.endswith("bias") or parameter.grad.abs().max() > 0, name


def test_an_unknown_operator_is_named() -> None:
    tiny, placement = tiny_core(**KINDS["grouped"]), PLACEMENTS["cpu"]
    quantized = quantize_graph(tiny.core, tiny_scales(tiny, placement), placement)
    with pytest.raises(GraphError, match="does not know the operators Split"):
        GraphNetwork(tiny.core, quantized, placement)


weights = arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32))


@given(weights, st.sampled_from([127, 64, 7]), st.sampled_from([0, 1]))
def test_weights_are_rounded_as_on_export(weight: npt.NDArray[np.float32], limit: int, axis: int) -> None:
    integers, scales = quantize_weight(weight, axis, limit=limit, scale_dtype=np.dtype(np.float32))
    expected = integers.astype(np.float32) * np.expand_dims(scales, 1 - axis)
    assert np.array_equal(fake_quantize_weight(torch.from_numpy(weight), axis, limit).numpy(), expected)


def test_the_gradient_passes_where_values_are_kept_and_stops_where_they_saturate() -> None:
    x = torch.tensor([-0.3, 0.0, 0.26, 12.6, 12.9], requires_grad=True)
    rounded = fake_quantize(x, torch.tensor(0.1), torch.tensor(0.0), 0, 127)
    assert rounded.tolist() == pytest.approx([0.0, 0.0, 0.3, 12.6, 12.7])
    rounded.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and x.grad.tolist() == [0, 1, 1, 1, 0]
    weight = torch.tensor([[0.5, -1.0]], requires_grad=True)
    (fake_quantize_weight(weight, 0, 127) * torch.tensor([[2.0, 3.0]])).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None and weight.grad.tolist() == [[2.0, 3.0]]
