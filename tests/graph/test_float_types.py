"""FP16 and BF16 graphs: every float tensor changes type, the numbers stay close, and what cannot fit is named."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from resnest_edge.errors import GraphError, UsageError
from resnest_edge.graph.float_types import convert_floats
from resnest_edge.graph.model import DTYPES, INPUT, digest, to_bytes
from resnest_edge.spec import Form, Precision
from tests.support.graphs import parse
from tests.support.onnx_run import run_ort, run_reference
from tests.support.tiny import IMAGE_SIZE, tiny_core

FLOAT = ir.DataType.FLOAT
LOW = [Precision.FP16, Precision.BF16]
PICTURES = np.random.default_rng(0).standard_normal((2, 3, IMAGE_SIZE, IMAGE_SIZE)).astype(np.float32)


def with_constant(value: float) -> ir.Model:
    """A graph that adds one constant, named ``layer_bias``."""
    model = parse("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[2] images) => (float[2] logits) <float[1] layer_bias = {0}> { logits = Add(images, layer_bias) }
    """)
    bias = model.graph.initializers["layer_bias"]
    bias.const_value = ir.tensor(np.array([value], np.float32), name="layer_bias")
    return model


def constant(model: ir.Model, name: str = "layer_bias") -> npt.NDArray[Any]:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy()


@pytest.mark.parametrize("float_type", LOW)
@pytest.mark.parametrize("kind", [{"blocks": 3}, {"radix": 4, "cardinality": 2}, {"form": Form.GROUPED}], ids=str)
def test_every_float_tensor_is_retyped(kind: dict[str, Any], float_type: Precision) -> None:
    core = tiny_core(**kind).core
    model = convert_floats(core, float_type)
    values = {value for node in model.graph for value in (*node.inputs, *node.outputs) if value is not None}
    values.update(model.graph.inputs, model.graph.outputs, model.graph.initializers.values())
    assert {value.dtype for value in values} == {DTYPES[float_type], ir.DataType.INT64}
    tensors = {value.const_value.dtype for value in model.graph.initializers.values() if value.const_value is not None}
    assert tensors == {DTYPES[float_type], ir.DataType.INT64}
    assert [node.name for node in model.graph] == [node.name for node in core.graph]


@pytest.mark.parametrize("float_type", DTYPES)
def test_the_typed_graph_passes_the_full_check(float_type: Precision) -> None:
    """The full check infers every type from the operators and compares: one float32 left over would fail it."""
    model = convert_floats(tiny_core(blocks=3).core, float_type)
    onnx.checker.check_model(onnx.load_from_string(to_bytes(model)), full_check=True)
    assert model.graph.opset_imports[""] == (22 if float_type is Precision.BF16 else 20)


def test_the_full_check_notices_a_tensor_left_in_float32() -> None:
    model = convert_floats(tiny_core(blocks=3).core, Precision.FP16)
    weight = model.graph.initializers["fc.weight"]
    weight.const_value = ir.tensor(constant(model, "fc.weight").astype(np.float32), name="fc.weight")
    weight.type = ir.TensorType(FLOAT)
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx.checker.check_model(onnx.load_from_string(to_bytes(model)), full_check=True)


@pytest.mark.parametrize("float_type", LOW)
def test_constants_round_to_nearest_even(float_type: Precision) -> None:
    dtype = np.dtype(np.float16 if float_type is Precision.FP16 else ml_dtypes.bfloat16)
    core = tiny_core(blocks=3).core
    model = convert_floats(core, float_type)
    for name in core.graph.initializers:
        if core.graph.initializers[name].dtype == FLOAT:
            np.testing.assert_array_equal(constant(model, name), constant(core, name).astype(dtype))
    bits = 10 if float_type is Precision.FP16 else 7
    for value, expected in [(1 + 2.0 ** -(bits + 1), 1.0), (1 + 3 * 2.0 ** -(bits + 1), 1 + 2.0 ** (1 - bits))]:
        assert float(constant(convert_floats(with_constant(value), float_type))[0]) == expected


def test_the_reference_evaluator_runs_fp16() -> None:
    core = tiny_core(blocks=3).core
    model = convert_floats(core, Precision.FP16)
    (logits,) = run_reference(model, PICTURES.astype(np.float16))
    (expected,) = run_ort(core, PICTURES)
    assert logits.dtype == np.float16
    # 11 bits and a dozen layers; a wrong weight or a lost layer is of the size of the spread itself.
    assert np.abs(logits - expected).max() < 0.02 * expected.std()


def test_fp32_is_a_copy_and_the_core_is_left_as_it_was() -> None:
    core = tiny_core(blocks=3).core
    before = digest(core)
    for float_type in DTYPES:
        assert (digest(convert_floats(core, float_type)) == before) is (float_type is Precision.FP32)
        assert digest(core) == before
    assert convert_floats(core, Precision.FP32) is not core


@pytest.mark.parametrize(
    ("value", "float_type", "name"),
    [(65520.0, Precision.FP16, "FLOAT16"), (-1e6, Precision.FP16, "FLOAT16"), (3.4e38, Precision.BF16, "BFLOAT16")],
)
def test_a_constant_beyond_the_type_is_named(value: float, float_type: Precision, name: str) -> None:
    with pytest.raises(GraphError, match=rf"constant layer_bias reaches \S+, beyond {name}\. Use --precision"):
        convert_floats(with_constant(value), float_type)


@pytest.mark.parametrize("value", [65504.0, -65504.0, 65519.0, 2.0**-24, -np.inf])
def test_a_constant_that_fits_is_kept(value: float) -> None:
    assert constant(convert_floats(with_constant(value), Precision.FP16))[0] == np.float16(value)


def test_fp16_underflow_is_zero() -> None:
    assert constant(convert_floats(with_constant(2.0**-25), Precision.FP16))[0] == 0


@pytest.mark.parametrize("float_type", LOW)
def test_constant_nodes_and_casts_follow(float_type: Precision) -> None:
    model = parse("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[2] images, int64[1] length) => (float[2] logits)
        {
            one = Constant <value = float[2] {1, 2}> ()
            fill = ConstantOfShape <value = float[1] {3}> (length)
            count = Cast <to = 1> (length)
            whole = Cast <to = 7> (count)
            a = Add(images, one)
            b = Add(a, fill)
            logits = Add(b, count)
        }
    """)
    typed = convert_floats(model, float_type)
    onnx.checker.check_model(onnx.load_from_string(to_bytes(typed)), full_check=True)
    assert {value.dtype for node in typed.graph for value in node.outputs} == {DTYPES[float_type], ir.DataType.INT64}


def test_a_constant_node_beyond_fp16_is_named() -> None:
    model = parse("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[2] images) => (float[2] logits)
        { big = Constant <value = float[1] {70000}> () logits = Add(images, big) }
    """)
    with pytest.raises(GraphError, match="constant big reaches 7e"):
        convert_floats(model, Precision.FP16)


def test_int8_is_no_float_type() -> None:
    with pytest.raises(UsageError, match="int8 is not a float type"):
        convert_floats(with_constant(0), Precision.INT8)


def test_integers_keep_their_type() -> None:
    model = convert_floats(tiny_core(blocks=3).core, Precision.FP16)
    assert model.graph.inputs[0].name == INPUT
    integers = [value for value in model.graph.initializers.values() if value.dtype == ir.DataType.INT64]
    assert integers
