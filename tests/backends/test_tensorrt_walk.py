"""The walk over a parsed network, on one convolution with everything that can be wrong about its Q/DQ."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from resnest_edge.backends.tensorrt.walk import Account, walk_network
from resnest_edge.errors import GraphError
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Precision, QdqStyle

trt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX: pip install 'resnest-edge[rtx]'")

INFO = GraphInfo(
    name="one convolution",
    precision=Precision.INT8,
    float_type=Precision.FP16,
    style=QdqStyle.PORTABLE,
    weight_bits=8,
    input_format=InputFormat.UINT8_NHWC,
    batch=BatchRange(1, 1, 1),
    image_size=8,
    num_classes=4,
)


class Network:
    """An empty strongly typed network, and what has to live as long as it."""

    def __init__(self) -> None:
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._builder = trt.Builder(self._logger)
        self._arrays: list[npt.NDArray[Any]] = []
        self.network = self._builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))

    def parse(self, model: bytes) -> Any:
        self._parser = trt.OnnxParser(self.network, self._logger)
        assert self._parser.parse(model)
        return self.network

    def constant(self, values: Any, dtype: type) -> Any:
        array: npt.NDArray[Any] = np.ascontiguousarray(values, dtype)
        self._arrays.append(array)
        return self.network.add_constant(array.shape, array).get_output(0)


def convolution(
    *,
    activation: bool = True,
    kernel: bool = True,
    axis: int = 0,
    activation_scales: int = 1,
    groups: int = 1,
    type_: int = TensorProto.FLOAT16,
) -> bytes:
    """uint8 pixels, a cast, and one convolution of 4 channels, with the parts of its Q/DQ as chosen."""
    float_dtype = helper.tensor_dtype_to_np_dtype(type_)
    constants = {
        "weight": np.ones((4, 4 // groups, 3, 3), float_dtype),
        "weight.q": np.ones((4, 4 // groups, 3, 3), np.int8),
        "weight.scale": np.full(4, 0.5, float_dtype),
        "weight.zero": np.zeros(4, np.int8),
        "x.scale": np.full(activation_scales, 0.5, float_dtype)[() if activation_scales > 1 else 0],
        "x.zero": np.zeros(activation_scales, np.int8)[() if activation_scales > 1 else 0],
    }
    nodes = [helper.make_node("Cast", ["images"], ["x"], name="cast", to=type_)]
    if activation:
        nodes += [
            helper.make_node("QuantizeLinear", ["x", "x.scale", "x.zero"], ["x.q"], name="x.q", axis=1),
            helper.make_node("DequantizeLinear", ["x.q", "x.scale", "x.zero"], ["x.dq"], name="x.dq", axis=1),
        ]
    if kernel:
        inputs = ["weight.q", "weight.scale", "weight.zero"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, ["weight.dq"], name="weight.dq", axis=axis))
    inputs = ["x.dq" if activation else "x", "weight.dq" if kernel else "weight"]
    nodes.append(helper.make_node("Conv", inputs, ["logits"], name="stem.conv1", kernel_shape=[3, 3], group=groups))
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("logits", type_, [1, 4, 6, 6])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items() if name in used],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


def walk(model: bytes, info: GraphInfo = INFO) -> Account:
    holder = Network()
    return walk_network(trt, holder.parse(model), info)


def test_a_quantized_convolution_is_counted_as_int8() -> None:
    holder = Network()
    network = holder.parse(convolution())
    account = walk_network(trt, network, INFO)
    assert account.matrix_layers == {"int8": 1}
    assert account.layers["convolution"] == {"int8": 1}
    assert account.layers["dequantize"] == {"fp16": 2}
    assert account.layers["cast"] == {"fp16": 1}
    assert sum(sum(kind.values()) for kind in account.layers.values()) == network.num_layers


@pytest.mark.parametrize(("kernel", "groups", "narrow"), [(True, 1, ()), (True, 2, ("stem.conv1",)), (False, 2, ())])
def test_narrow_groups_are_named_where_they_are_quantized(kernel: bool, groups: int, narrow: tuple[str, ...]) -> None:
    info = INFO if kernel else replace(INFO, precision=Precision.FP16, style=None)
    assert walk(convolution(activation=kernel, kernel=kernel, groups=groups), info).narrow_groups == narrow


def test_a_matrix_product_is_quantized_through_the_reshape_that_the_parser_adds() -> None:
    """(1, 2, 4) · (4, 3): the parser brings the weight to three dimensions behind its DequantizeLinear."""
    inputs = ["{0}.q", "{0}.scale", "{0}.zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "x.scale", "x.zero"], ["x.q"], name="x.q"),
        helper.make_node("DequantizeLinear", [name.format("x") for name in inputs], ["x.dq"], name="x.dq"),
        helper.make_node("DequantizeLinear", [name.format("w") for name in inputs], ["w.dq"], name="w.dq", axis=1),
        helper.make_node("MatMul", ["x.dq", "w.dq"], ["logits"], name="fc"),
    ]
    constants: dict[str, npt.NDArray[Any]] = {
        "x.scale": np.array(0.5, np.float16),
        "x.zero": np.array(0, np.int8),
        "w.q": np.ones((4, 3), np.int8),
        "w.scale": np.full(3, 0.5, np.float16),
        "w.zero": np.zeros(3, np.int8),
    }
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT16, [1, 2, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT16, [1, 2, 3])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    account = walk(proto.SerializeToString())
    assert account.matrix_layers == {"int8": 1}
    assert "shuffle" in account.layers


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": False}, "stem.conv1 has one quantized operand and one in fp16"),
        ({"kernel": False}, "stem.conv1 has one quantized operand and one in fp16"),
        ({"activation": False, "kernel": False}, "one convolution: announced as int8, and none .* is quantized"),
        ({"axis": 1}, "stem.conv1 has a kernel quantized along axis 1"),
        ({"activation_scales": 4}, "stem.conv1 reads activations quantized per channel"),
        ({"type_": TensorProto.FLOAT}, r"x.dq computes in fp32, .* announced as int8 with fp16 around it"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_would_not_run_in_int8_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        walk(convolution(**changes))


@pytest.mark.parametrize(
    ("type_", "word"), [(TensorProto.FLOAT, "fp32"), (TensorProto.FLOAT16, "fp16"), (TensorProto.BFLOAT16, "bf16")]
)
@pytest.mark.parametrize("announced", [Precision.FP32, Precision.FP16, Precision.BF16], ids=str)
def test_float_convolutions_are_held_to_what_was_announced(type_: int, word: str, announced: Precision) -> None:
    holder = Network()
    dtype = {"fp32": trt.float32, "fp16": trt.float16, "bf16": trt.bfloat16}[word]
    pixels = holder.network.add_input("images", trt.uint8, (1, 4, 8, 8))
    cast = holder.network.add_cast(pixels, dtype).get_output(0)
    weight = holder.network.add_cast(holder.constant(np.ones((4, 4, 3, 3)), np.float32), dtype).get_output(0)
    layer = holder.network.add_convolution_nd(cast, 4, (3, 3), trt.Weights(dtype))
    layer.set_input(1, weight)
    layer.name = "stem.conv1"
    info = GraphInfo(**{**vars(INFO), "precision": announced, "float_type": announced, "style": None})
    if announced.value == word:
        assert walk_network(trt, holder.network, info).matrix_layers == {word: 1}
    else:
        with pytest.raises(GraphError, match=f"stem.conv1 computes in {word}, .* announced as {announced}"):
            walk_network(trt, holder.network, info)


def test_a_quantized_convolution_is_no_float_one() -> None:
    info = GraphInfo(**{**vars(INFO), "precision": Precision.FP16, "style": None})
    with pytest.raises(GraphError, match=r"computes in int8, .* announced as fp16"):
        walk(convolution(), info)


def test_a_zero_point_other_than_zero_is_refused() -> None:
    """The parser refuses it already; a network made in another way may hold one."""
    holder = Network()
    values = holder.network.add_input("images", trt.float32, (1, 4, 8, 8))
    layer = holder.network.add_quantize(values, holder.constant(0.5, np.float32), trt.int8)
    layer.name = "x.q"
    layer.set_input(2, holder.constant(3.0, np.float32))
    with pytest.raises(GraphError, match=r"x\.q has a zero point other than 0"):
        walk_network(trt, holder.network, INFO)


def test_a_zero_point_that_is_computed_is_refused() -> None:
    holder = Network()
    values = holder.network.add_input("images", trt.float32, (1, 4, 8, 8))
    layer = holder.network.add_quantize(values, holder.constant(0.5, np.float32), trt.int8)
    layer.name = "x.q"
    layer.set_input(2, holder.network.add_input("zero", trt.float32, ()))
    with pytest.raises(GraphError, match=r"x\.q has a zero point that is no constant"):
        walk_network(trt, holder.network, INFO)


@pytest.mark.parametrize("where", ["reads", "gives"])
def test_uint8_beyond_the_inputs_cast_is_refused(where: str) -> None:
    holder = Network()
    network = holder.network
    if where == "reads":
        layer = network.add_shuffle(network.add_input("images", trt.uint8, (1, 8, 8, 4)))
    else:
        layer = network.add_cast(network.add_input("images", trt.float32, (1, 8, 8, 4)), trt.uint8)
    layer.name = "preprocess.planar"
    with pytest.raises(GraphError, match=r"preprocess\.planar works on uint8 values"):
        walk_network(trt, network, INFO)
