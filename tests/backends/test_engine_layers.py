"""Names that the CPU runtimes give their layers, led back to the graph's nodes; and the ONNX reader behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from resnest_edge.backends.onnx_wire import node_outputs
from resnest_edge.backends.onnxruntime_layers import engine_layer as onnxruntime_layer
from resnest_edge.backends.openvino_layers import engine_layer as openvino_layer
from resnest_edge.errors import GraphError


def test_nodes_and_their_outputs_agree_with_onnx(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], name="split", num_outputs=2),
        helper.make_node("Relu", ["a"], ["layer1.0.conv.out"], name="layer1.0.conv"),
        helper.make_node("Relu", ["b"], ["nameless"]),
    ]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])
    graph = helper.make_graph(nodes, "g", [value], [helper.make_tensor_value_info("nameless", 1, None)])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), path)
    oracle = {tensor: node.name for node in onnx.load(path).graph.node for tensor in node.output}
    assert node_outputs(path) == oracle
    assert oracle["a"] == oracle["b"] == "split" and oracle["nameless"] == ""


@pytest.mark.parametrize("data", [b"", b"no model at all", b"\x3a\xff\xff\xff\x0f"])
def test_what_is_no_onnx_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(GraphError, match="not an ONNX"):
        node_outputs(tmp_path / "x")


PRODUCERS = {"Relu.out": "stem.conv1", "logits": "fc"}


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("stem.conv1_kernel_time", "stem.conv1"),
        ("stem.conv1_token_2_kernel_time", "stem.conv1"),
        ("Relu.out_nchwc_kernel_time", "stem.conv1"),  # named after its output, in the blocked layout
        ("Relu.out_nchwc_token_7_kernel_time", "stem.conv1"),
        ("layer1.0.Relu.out.dq/duplicated_kernel_time", "layer1.0.Relu.out.dq"),
        ("ReorderInput_kernel_time", "ReorderInput"),
    ],
)
def test_onnx_runtime_s_names(name: str, origin: str) -> None:
    event = {"name": name, "dur": 1500.0, "args": {"op_name": "Conv", "input_type_shape": [{"float": [1, 3]}]}}
    layer = onnxruntime_layer(event, PRODUCERS)
    assert layer.origins == (origin,)
    assert (layer.precision, layer.matrix, layer.milliseconds) == ("fp32", True, 1.5)


@pytest.mark.parametrize(
    ("kind", "inputs", "precision", "matrix"),
    [
        ("QLinearConv", [{"uint8": [1]}], "int8", True),
        ("QGemm", [{"uint8": [1]}], "int8", True),
        ("FusedConv", [{"float": [1]}], "fp32", True),
        ("Reshape", [{"int64": [1]}], "int64", False),
        ("Constant", [], None, False),
    ],
)
def test_onnx_runtime_s_kernels(kind: str, inputs: list[Any], precision: str | None, matrix: bool) -> None:
    event = {"name": "n_kernel_time", "dur": 1, "args": {"op_name": kind, "input_type_shape": inputs}}
    layer = onnxruntime_layer(event, {})
    assert (layer.precision, layer.matrix) == (precision, matrix)


@pytest.mark.parametrize(
    ("originals", "runtime", "origins", "precision"),
    [
        (
            "stem.conv1/WithoutBiases,Multiply_1,stem.conv1,Relu.out",
            "u8",
            ("stem.conv1", "Multiply_1"),  # Relu.out is what stem.conv1 gives
            "int8",
        ),
        ("logits", "f32", ("fc",), "fp32"),
        ("fc/WithoutBiases/DequantizationMultiply,logits", "i8", ("fc",), "int8"),
        ("stem.conv1", "bf16", ("stem.conv1",), "bf16"),
        ("", "i32", (), "i32"),
    ],
)
def test_openvino_s_names(originals: str, runtime: str, origins: tuple[str, ...], precision: str) -> None:
    note = {
        "name": "n",
        "layerType": "Convolution",
        "originalLayersNames": originals,
        "runtimePrecision": runtime,
        "primitiveType": "jit_avx2_I8",
    }
    layer = openvino_layer(note, PRODUCERS, 0.25)
    assert (layer.origins, layer.precision, layer.matrix) == (origins, precision, True)
    assert (layer.kernel, layer.milliseconds) == ("jit_avx2_I8", 0.25)
