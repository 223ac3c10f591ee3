"""TensorRT's engine inspector: samples in the dialects of TensorRT 10 and 11, written down from its documentation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.backends.inspection import EngineLayer, find_warnings, map_layers
from resnest_edge.backends.tensorrt.inspector import fused_names, parse_information
from resnest_edge.errors import BundleError

VECTOR_INT8 = "Thirty-two wide channel vectorized row major Int8 format"
LINEAR_FP16 = "Row major linear FP16 format"
XMMA_INT8 = "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32_t1r3s3"
XMMA_FP16 = "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x128x32_stage4"


def tensor10(name: str, text: str) -> dict[str, Any]:
    return {"Name": name, "Location": "Device", "Dimensions": [1, 64, 56, 56], "Format/Datatype": text}


def tensor11(name: str, text: str, kind: str) -> dict[str, Any]:
    return {"Name": name, "Location": "Device", "Dimensions": [1, 64, 56, 56], "Format": text, "DataType": kind}


def convolution(name: str, tensor: dict[str, Any], weights: str, kernel: str, **more: Any) -> dict[str, Any]:
    return {
        "Name": name,
        "LayerType": "CaskConvolution",
        "Inputs": [tensor],
        "Outputs": [tensor],
        "ParameterType": "Convolution",
        "Kernel": [3, 3],
        "Groups": 1,
        "Weights": {"Type": weights, "Count": 36864},
        "Activation": "RELU",
        "TacticName": kernel,
        "StreamId": 0,
        **more,
    }


STEM = "stem.conv1.weight.q + stem.conv1.weight.q_QuantizeLinear + stem.conv1 + Relu"
TEN = {
    "Layers": [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to stem.conv1 + Relu",
            "LayerType": "Reformat",
            "Inputs": [tensor10("images", "Row major linear UInt8 format")],
            "Outputs": [tensor10("images.q", VECTOR_INT8)],
            "ParameterType": "Reformat",
            "Origin": "REFORMAT",
            "Metadata": "",
        },
        convolution(STEM, tensor10("images.q", VECTOR_INT8), "Int8", XMMA_INT8),
        convolution(
            "layer1.0.conv1.0 || layer1.0.conv1.1",
            tensor10("a", LINEAR_FP16),
            "Half",
            XMMA_FP16,
            Metadata="[ONNX Layer: layer1.0.conv1.0]\x1f[ONNX Layer: layer1.0.Relu]\x1e[ONNX Layer: layer1.0.conv1.1]",
        ),
        {
            "Name": "PWN(PWN(layer1.0.split_attention.attention.Sigmoid, layer1.0.Mul), layer1.0.Add_clone_1)",
            "LayerType": "PointWiseV2",
            "Inputs": [tensor10("b", LINEAR_FP16)],
            "Outputs": [tensor10("c", LINEAR_FP16)],
            "ParameterType": "PointWise",
        },
        {
            "Name": "__myl_ConvAdd_myl0_3",
            "LayerType": "conv",
            "Inputs": [{"Name": "d", "Dimensions": [1, 8], "Format/Datatype": "Int8"}],
            "Outputs": [{"Name": "e", "Dimensions": [1, 8], "Format/Datatype": "Half"}],
            "TacticName": "sm80_xmma_fprop_implicit_gemm_i8f16_i8i32_f32_nhwckrsc_nhwc",
            "Metadata": "[ONNX Layer: layer1.0.conv3]\x1f[ONNX Layer: layer1.0.Add]",
        },
        {
            "Name": "{ForeignNode[layer2.0.conv1.0...layer2.0.conv3]}",
            "LayerType": "Myelin",
            "Inputs": [tensor10("f", "N/A due to dynamic shapes")],
            "Outputs": [tensor10("g", "N/A due to dynamic shapes")],
            "TacticValue": "0x0000000000000000",
        },
    ],
    "Bindings": ["images", "logits", "probabilities"],
}
ELEVEN = {
    "Layers": [
        convolution(
            STEM, tensor11("images.q", "Thirty-two wide channel vectorized row major", "Int8"), "Int8", XMMA_INT8
        ),
        {
            "Name": "fc",
            "LayerType": "gemm",
            "Inputs": [tensor11("pooled", "Row major linear", "Half")],
            "Outputs": [tensor11("logits", "Row major linear", "Float")],
            "Metadata": "[ONNX Layer: fc]",
        },
    ],
    "I/O Tensors": [
        {
            "Name": "images",
            "IOMode": "Input",
            "DataType": "UInt8",
            "Dimensions": [-1, 224, 224, 3],
            "Location": "Device",
        },
        {"Name": "logits", "IOMode": "Output", "DataType": "Float", "Dimensions": [-1, 1000], "Location": "Device"},
    ],
}
ASKED = dict.fromkeys(
    ("stem.conv1", "layer1.0.conv1.0", "layer1.0.conv1.1", "layer1.0.conv3", "layer2.0.conv1.0", "layer2.0.conv2"),
    "int8",
)


def by_name(value: dict[str, Any]) -> dict[str, EngineLayer]:
    return {layer.name: layer for layer in parse_information(json.dumps(value)).layers}


def test_the_dialect_of_10() -> None:
    information = parse_information(json.dumps(TEN))
    assert information.tensors == ["images", "logits", "probabilities"] and information.detailed
    copy, stem, pair, pointwise, myelin, region = information.layers
    assert (copy.origins, copy.matrix) == ((), False)
    assert (stem.matrix, stem.precision, stem.kernel) == (True, "int8", XMMA_INT8)
    assert "stem.conv1" in stem.origins and "Relu" in stem.origins
    assert (pair.precision, set(pair.origins)) == ("fp16", {"layer1.0.conv1.0", "layer1.0.conv1.1", "layer1.0.Relu"})
    assert (pointwise.matrix, pointwise.precision) == (False, "fp16")
    assert (myelin.matrix, myelin.precision, myelin.origins[:2]) == (True, "int8", ("layer1.0.conv3", "layer1.0.Add"))
    assert (region.matrix, region.precision) == (False, None)


def test_the_dialect_of_11() -> None:
    information = parse_information(json.dumps(ELEVEN))
    assert information.tensors == ["images", "logits"]
    stem, classifier = information.layers
    assert (stem.precision, stem.matrix) == ("int8", True)
    assert (classifier.precision, classifier.matrix) == ("fp16", True)


def test_names_only() -> None:
    for key, tensors in (("Bindings", ["images"]), ("I/O Tensors", [{"Name": "images"}])):
        information = parse_information(json.dumps({"Layers": ["stem.conv1 + Relu", "PWN(a, b)"], key: tensors}))
        assert not information.detailed and information.tensors == ["images"]
        assert [layer.origins for layer in information.layers] == [("stem.conv1", "Relu"), ("a", "b")]
        assert {layer.precision for layer in information.layers} == {None}


def test_model_layers_are_found_and_what_is_not_int8_is_named() -> None:
    layers = map_layers(ASKED, parse_information(json.dumps(TEN)).layers)
    assert {layer.name: layer.runs for layer in layers} == {
        "stem.conv1": "int8",
        "layer1.0.conv1.0": "fp16",
        "layer1.0.conv1.1": "fp16",
        "layer1.0.conv3": "int8",
        "layer2.0.conv1.0": None,  # an end of a region that is not opened
        "layer2.0.conv2": None,  # inside it
    }
    misses, unknown = find_warnings(layers)
    assert misses == "asked to run in INT8, and run in FP16: layer1.0.conv1.0, layer1.0.conv1.1"
    assert unknown.endswith("does not say what they run in: layer2.0.conv1.0, layer2.0.conv2")


def test_int8_that_runs_and_floats_that_were_asked_warn_of_nothing() -> None:
    asked = {"stem.conv1": "int8", "fc": "fp16"}
    assert find_warnings(map_layers(asked, by_name(ELEVEN).values())) == []


def test_of_a_layer_in_several_kernels_the_widest_counts() -> None:
    parts = [
        EngineLayer("first", "conv", ("conv",), "int8", True),
        EngineLayer("second", "conv", ("conv",), "fp32", True),
        EngineLayer("copy", "Reformat", ("conv",), "fp16", False),
    ]
    (layer,) = map_layers({"conv": "int8"}, parts)
    assert (layer.runs, layer.engine_layer) == ("fp32", "second")
    assert find_warnings([layer]) == ["asked to run in INT8, and runs in FP32: conv"]


def test_a_layer_only_in_a_pointwise_kernel_is_unknown_not_proven() -> None:
    (layer,) = map_layers({"conv": "int8"}, [EngineLayer("x", "PointWise", ("conv",), "int8", False)])
    assert layer.runs is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Row major linear FP32", "fp32"),
        ("Row major Int8 format", "int8"),
        ("Channel major FP16 format where channel % 4 == 0", "fp16"),
        ("Row major linear BFloat16 format", "bf16"),
        ("Half", "fp16"),
        ("Float", "fp32"),
        ("Row major linear UInt8 format", None),
        ("N/A due to dynamic shapes", None),
    ],
)
def test_types_by_tensor(text: str, word: str | None) -> None:
    layer = {"Name": "m", "LayerType": "MatrixMultiply", "Inputs": [tensor10("x", text)]}
    (found,) = parse_information(json.dumps({"Layers": [layer]})).layers
    assert (found.matrix, found.precision) == (True, word)


@pytest.mark.parametrize(
    ("kernel", "word"),
    [
        (XMMA_INT8, "int8"),
        (XMMA_FP16, "fp16"),
        ("sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n", "fp32"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n", "bf16"),
        ("ampere_h16816gemm_256x128_ldg8_nn_v1", "fp16"),
        ("something else", None),
    ],
)
def test_with_dynamic_shapes_the_kernel_tells(kernel: str, word: str | None) -> None:
    tensor = tensor10("x", "N/A due to dynamic shapes")
    layer = {"Name": "c", "LayerType": "CaskGemmConvolution", "Inputs": [tensor], "TacticName": kernel}
    (found,) = parse_information(json.dumps({"Layers": [layer]})).layers
    assert found.precision == word


NODE = st.from_regex(r"[a-z][a-z0-9]*(\.[a-z0-9]+)*(_[0-9]+)?", fullmatch=True)
NAMES = st.lists(NODE, min_size=1, max_size=5, unique=True)


@given(NAMES)
def test_every_way_to_fuse_gives_the_names_back(names: list[str]) -> None:
    nested = names[0]
    for name in names[1:]:
        nested = f"PWN({nested}, {name})"
    assert list(fused_names(" + ".join(names))) == names
    assert list(fused_names(" || ".join(names))) == names
    assert list(fused_names(nested)) == names
    assert fused_names(f"Reformatting CopyNode for Output Tensor 0 to {' + '.join(names)}") == ()


def test_a_region_tells_its_two_ends() -> None:
    assert fused_names("{ForeignNode[layer1.0.conv1...layer4.2.Add]}") == ("layer1.0.conv1", "layer4.2.Add")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Layers": 3}', '{"Layers": [{}]}', '{"Layers": [1]}', "null"])
def test_what_is_no_inspector_json_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="inspector"):
        parse_information(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("Name", "LayerType", "Inputs", "Outputs", "Weights", "TacticName", "Metadata")


@given(st.lists(st.text(max_size=8) | st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=7), max_size=4), VALUES)
def test_any_layers_are_read_or_refused(layers: list[Any], tensors: Any) -> None:
    try:
        found = parse_information(json.dumps({"Layers": layers, "I/O Tensors": tensors})).layers
    except BundleError:
        return
    assert len(found) == len(layers)
    assert {layer.precision for layer in found} <= {"int8", "bf16", "fp16", "fp8", "fp32", None}
