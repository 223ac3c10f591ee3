"""The graph of moments: the mean and the mean square of each convolution named, and nothing of the core is changed."""

from __future__ import annotations

import numpy as np

from resnest_edge.graph.model import digest
from resnest_edge.graph.moments import moments_graph
from tests.support.calibrated import pictures
from tests.support.onnx_run import run_ort
from tests.support.tiny import tiny_core


def test_it_gives_the_moments_of_the_layers_named() -> None:
    core = tiny_core(radix=4, cardinality=2).core
    wanted = {"stem.conv1", "layer2.0.split_attention.conv.3", "layer1.0.split_attention.attention.fc1"}
    before, shots = digest(core), pictures(3)
    model, layers = moments_graph(core, {*wanted, "fc", "layer9.0.conv1"})
    assert set(layers) == wanted, "what is no convolution of the graph is left out"
    assert digest(core) == before
    found = run_ort(model, shots, [value.name or "" for value in model.graph.outputs])
    for layer, mean, square in zip(layers, found[::2], found[1::2], strict=True):
        (output,) = run_ort(core, shots, [f"{layer}.out"])
        np.testing.assert_allclose(mean, output.mean((2, 3)), atol=1e-5)
        np.testing.assert_allclose(square, np.square(output).mean((2, 3)), atol=1e-4)


def test_a_layer_that_is_asked_for_alone_needs_nothing_behind_it() -> None:
    model, layers = moments_graph(tiny_core().core, {"stem.conv1"})
    assert layers == ["stem.conv1"] and len(model.graph.outputs) == 2
