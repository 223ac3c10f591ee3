"""Chains that measure what a machine can do, and the account of an engine's time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from benchmarks.ceiling_pages import render, time_plot
from benchmarks.ceilings import Chain
from benchmarks.conv_chains import LONG, SHORT, Shape, chain, compiled, milliseconds, shapes
from benchmarks.time_account import Part, Role, account, macs_of, role_of
from resnest_edge.backends.inspection import EngineLayer
from resnest_edge.errors import UsageError
from resnest_edge.models.variants import find_variant
from resnest_edge.spec import Precision, Target

SMALL = Shape("stage 1", "1×1 out", 8, 16, 1, 6)
GROUPED = Shape("stage 1", "3×3", 8, 16, 3, 5, groups=4)


def test_the_shapes_are_those_of_resnest50() -> None:
    found = {(one.stage, one.kind): one.words() for one in shapes(find_variant("resnest50").config, 224)}
    assert found["stem", "3×3"] == "3×3, 32 → 64 at 112×112"  # the second of the two
    assert found["stage 1", "1×1 in"] == "1×1, 256 → 32 at 56×56"
    assert found["stage 3", "3×3"] == "3×3, 128 → 256 at 14×14"
    assert found["stage 4", "1×1 out"] == "1×1, 512 → 2048 at 7×7"
    assert found["stage 2", "1×1 shortcut"] == "1×1, 256 → 512 at 28×28"
    fast = {(one.stage, one.kind): one.words() for one in shapes(find_variant("4s2x40d").config, 224)}
    assert fast["stage 1", "3×3"] == "3×3, 20 → 80 at 56×56, 2 groups"


def test_a_shapes_cost_counts_every_product() -> None:
    assert SMALL.macs == 8 * 16 * 36
    assert GROUPED.macs == 2 * 16 * 9 * 25


@pytest.mark.parametrize("shape", [SMALL, GROUPED])
def test_a_float_chain_computes_its_convolutions(shape: Shape) -> None:
    graph = onnx.load_from_string(chain(shape, 1, quantized=False))
    pixels = np.random.default_rng(0).normal(size=(1, 8, shape.side, shape.side)).astype(np.float32)
    (found,) = ReferenceEvaluator(graph).run(None, {"input": pixels})
    expected: Any = pixels
    pad = shape.kernel // 2
    for constant in graph.graph.initializer:
        if not constant.name.startswith("weight"):
            continue
        weight = onnx.numpy_helper.to_array(constant)
        padded = np.pad(expected, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (shape.kernel, shape.kernel), axis=(2, 3))
        windows = windows.reshape(1, shape.groups, -1, *windows.shape[2:])
        grouped = weight.reshape(shape.groups, -1, *weight.shape[1:])
        expected = np.einsum("ngchwij,gocij->ngohw", windows, grouped).reshape(1, weight.shape[0], *pixels.shape[2:])
        expected = np.maximum(expected, 0)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-4, atol=1e-5)


def test_a_quantized_chain_runs_in_int8_on_both_runtimes() -> None:
    graph = chain(SMALL, 2, quantized=True)
    run, ran = compiled(graph, Target.OPENVINO, Precision.INT8)
    assert ran == {"u8": 4}
    run()
    run, ran = compiled(graph, Target.ONNXRUNTIME, Precision.INT8)
    assert ran == {"QLinearConv": 4}
    run()


def test_a_float_chain_runs_in_fp32() -> None:
    graph = chain(SMALL, 2, quantized=False)
    assert compiled(graph, Target.OPENVINO, Precision.FP32)[1] == {"f32": 4}
    assert sum(compiled(graph, Target.ONNXRUNTIME, Precision.FP32)[1].values()) == 4


def test_a_slice_has_three_runs_at_least() -> None:
    calls: list[int] = []
    assert len(milliseconds(lambda: calls.append(1), 0.0)) == 3
    assert len(calls) == 4  # one is not counted


def test_a_rate_comes_from_the_difference_of_the_chains() -> None:
    one = Chain(SMALL, Target.OPENVINO, Precision.INT8, (lambda: None, lambda: None), {})
    one.times = [(1.0, 3.0), (2.0, 4.0), (1.5, 9.0)]  # the quickest of either
    assert one.rate() == pytest.approx(2 * (LONG - SHORT) * SMALL.macs / 2e-3)
    one.times = [(2.0, 1.0)]
    with pytest.raises(UsageError, match="too quick"):
        one.rate()


def layer(kind: str, *origins: str, matrix: bool = False, name: str = "", ms: float | None = 1.0) -> EngineLayer:
    return EngineLayer(name or (origins[0] if origins else kind), kind, origins, "int8", matrix, "", ms)


ROLES = {
    "stem.conv1": ("stem", "3×3"),
    "layer1.0.conv1.1": ("stage 1", "1×1 in"),
    "layer2.3.split_attention.conv.0": ("stage 2", "3×3"),
    "layer2.3.split_attention.conv": ("stage 2", "3×3"),
    "layer3.0.conv2": ("stage 3", "3×3"),
    "layer4.2.conv3": ("stage 4", "1×1 out"),
    "layer4.0.downsample.conv": ("stage 4", "1×1 shortcut"),
    "layer4.0.split_attention.attention.fc1": ("", "gate"),
    "layer4.0.split_attention.attention.fc2.1": ("", "gate"),
    "fc": ("", "head"),
}
BESIDE = [
    (layer("Pooling", "maxpool.MaxPool"), "pools"),
    (layer("Subgraph", "layer1.0.split_attention.attention.Mul"), "gate"),
    (layer("Subgraph", "layer1.0.Relu.3.out.dq"), "conversions"),
    (layer("Reorder", name="maps_abcd_acdb_layer1.0.conv1"), "reorders"),
    (layer("QLinearAdd", "layer1.0.Add"), "adds"),
    (layer("Transpose", "preprocess.planar_original"), "input"),
    (layer("Reorder", name="images.q_abcd_acdb_stem.conv1"), "input"),
    (layer("Softmax", "probabilities"), "head"),
    (layer("Curious", "nobody.knows"), "other"),
]


@pytest.mark.parametrize("origin", ROLES)
def test_every_layer_with_weights_has_its_role(origin: str) -> None:
    assert role_of(layer("Convolution", "something.else", origin, matrix=True)) == Role(*ROLES[origin])


@pytest.mark.parametrize(("found", "kind"), BESIDE)
def test_what_is_beside_the_convolutions_is_named(found: EngineLayer, kind: str) -> None:
    assert role_of(found) == Role("", kind)


def test_an_account_sums_time_and_cost_by_role() -> None:
    layers = [
        layer("Convolution", "layer1.0.conv1.0", matrix=True, ms=2.0),
        layer("Convolution", "layer1.1.conv1.0", matrix=True, ms=3.0),
        layer("Pooling", "maxpool.MaxPool", ms=0.5),
        layer("Reshape", "layer1.0.conv1.0.bias", ms=None),
    ]
    found = account(layers, {"layer1.0.conv1.0": 10, "layer1.1.conv1.0": 20})
    into, pools = Role("stage 1", "1×1 in"), Role("", "pools")
    assert found == {into: Part(into, 2, 5.0, 30), pools: Part(pools, 1, 0.5, 0)}


def test_multiply_accumulates_are_read_from_a_graph(tmp_path: Path) -> None:
    graph = onnx.load_from_string(chain(GROUPED, 1, quantized=False))
    for index, node in enumerate(graph.graph.node):
        node.name = f"node{index}"
    path = tmp_path / "model.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(graph), path)
    assert macs_of(path) == {"node0": GROUPED.macs, "node2": GROUPED.macs}


@pytest.fixture
def value() -> dict[str, Any]:
    common = {"target": "openvino", "precision": "int8", "tmacs_per_second": 0.4}
    chained = {"layers": 2, "macs": 4_000_000, "tmacs_per_second": 0.2, "ceiling_tmacs_per_second": 0.4}
    parts = [
        {**dict.fromkeys(chained), "stage": "", "kind": "gate", "layers": 3, "milliseconds": 1.0}
        | {"at_ceiling_ms": None, "beyond_ms": 1.0},
        {**chained, "stage": "stage 1", "kind": "3×3", "milliseconds": 4.0, "at_ceiling_ms": 2.0, "beyond_ms": 2.0},
    ]
    engine = {"name": "ours", "target": "openvino", "precision": "int8", "latency_ms": 8.0, "tmacs_per_second": 0.1}
    return {
        "model": "resnest50",
        "image_size": 224,
        "machine": {"cpu": "a CPU", "cores": 2, "cpu_isa": ["avx2"]},
        "rounds": 5,
        "seconds": 0.02,
        "ceilings": [{**common, "stage": "stage 1", "kind": "3×3", "shape": "3×3, 32 → 64 at 56×56"}],
        "engines": [{**engine, "outside_ms": 3.0, "parts": parts}],
    }


def test_the_page_puts_each_part_beside_its_ceiling(value: dict[str, Any]) -> None:
    text = render(value, {"ours": "openvino-int8.svg"})
    assert "no AMX" in text
    assert "| stage 1 | 3×3, 32 → 64 at 56×56 | 0.400 |" in text
    cells = ["25 %", "2.00 ms (25 %)", "2.00 ms (25 %)", "1.00 ms (12 %)", "3.00 ms (38 %)"]
    row = " | ".join(cells)
    assert f"| ours | 8.00 ms | 0.100 | {row} |" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.index("stage 1 3×3") < text.index("| gate |")


def test_the_picture_has_a_bar_for_each_part(value: dict[str, Any]) -> None:
    drawn = str(time_plot(value["engines"][0]))
    assert drawn.count('class="bar"') == 2
