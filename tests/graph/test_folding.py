"""The engine's interface around a core graph, against NumPy, ONNX's ReferenceEvaluator and ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest

from resnest_edge.graph.float_types import convert_floats
from resnest_edge.graph.folding import fold_interface
from resnest_edge.graph.model import INPUT, LOGITS, PROBABILITIES, digest, to_bytes
from resnest_edge.spec import InputFormat, Precision, Preprocessing
from tests.support.graphs import parse
from tests.support.onnx_run import run_ort, run_reference
from tests.support.tiny import IMAGE_SIZE, tiny_core

Array = npt.NDArray[Any]

# Distinct per channel, so that a swapped channel shows.
PREPROCESSING = {
    color: Preprocessing(image_size=16, resize=16, mean=(0.2, 0.5, 0.7), std=(0.1, 0.25, 0.4), color=color)
    for color in ("rgb", "bgr")
}
FLOAT_TYPES = [Precision.FP32, Precision.FP16, Precision.BF16]
BOTH = list(InputFormat)


@pytest.fixture(scope="module")
def window() -> ir.Model:
    """A core that shows its input: the logits are the normalised pixels."""
    return parse("""
        <ir_version: 10, opset_import: ["" : 20]>
        window (float[batch, 3, 16, 16] images) => (float[batch, classes] logits) { logits = Flatten(images) }
    """)


def frames(seed: int = 0) -> npt.NDArray[np.uint8]:
    """Two RGB frames (2, 16, 16, 3) that hold every value in every channel."""
    generator = np.random.default_rng(seed)
    planes = [generator.permutation(256).reshape(16, 16) for _ in range(6)]
    stacked = np.stack(planes, -1).reshape(16, 16, 2, 3)
    return np.asarray(stacked.transpose(2, 0, 1, 3), np.uint8)


def as_input(images: npt.NDArray[np.uint8], form: InputFormat) -> Array:
    return images if form is InputFormat.UINT8_NHWC else images.transpose(0, 3, 1, 2).astype(np.float32)


def normalised(images: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[np.float64]:
    """The network's input in float64 NumPy: NCHW, in the network's channel order."""
    ordered = images[..., ::-1] if preprocessing.color == "bgr" else images
    scaled = (ordered / 255.0 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    return np.asarray(scaled.transpose(0, 3, 1, 2), np.float64)


def softmax(logits: Array) -> npt.NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    result: npt.NDArray[np.float64] = powers / powers.sum(-1, keepdims=True)
    return result


@pytest.mark.parametrize("run", [run_reference, run_ort])
@pytest.mark.parametrize("form", BOTH)
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_every_pixel_value_is_normalised_as_numpy_does(
    window: ir.Model, color: str, form: InputFormat, run: Any
) -> None:
    preprocessing = PREPROCESSING[color]
    logits, probabilities = run(fold_interface(window, preprocessing, input_format=form), as_input(frames(), form))
    expected = normalised(frames(), preprocessing).reshape(2, -1)
    # float32: 255·mean and the difference round at 2⁻²⁴·255, over 255·std of at least 25.5; the product at 2⁻²⁴·10.
    np.testing.assert_allclose(logits, expected, rtol=0, atol=4e-6)
    np.testing.assert_allclose(probabilities, softmax(expected), rtol=1e-4, atol=1e-12)


def test_swapped_channels_would_be_noticed(window: ir.Model) -> None:
    logits = run_ort(fold_interface(window, PREPROCESSING["bgr"]), frames())[0]
    wrong = normalised(frames(), PREPROCESSING["rgb"]).reshape(2, -1)
    assert np.abs(logits - wrong).max() > 1


@pytest.mark.parametrize("form", BOTH)
@pytest.mark.parametrize("float_type", FLOAT_TYPES)
def test_both_formats_give_the_same_engine(window: ir.Model, float_type: Precision, form: InputFormat) -> None:
    core = convert_floats(window, float_type)
    model = fold_interface(core, PREPROCESSING["rgb"], input_format=form, float_type=float_type)
    logits, probabilities = run_reference(model, as_input(frames(), form))
    expected = normalised(frames(), PREPROCESSING["rgb"]).reshape(2, -1)
    # One rounding of values up to 8: half a unit in the last place of 24, 11 or 8 bits.
    tolerance = {Precision.FP32: 4e-6, Precision.FP16: 8 * 2.0**-11, Precision.BF16: 8 * 2.0**-8}[float_type]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)
    assert logits.dtype == probabilities.dtype == np.float32
    # Softmax runs in float32 behind the cast, so the probabilities are exactly those of the logits that come out.
    np.testing.assert_allclose(probabilities, softmax(logits), rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", BOTH)
@pytest.mark.parametrize("float_type", FLOAT_TYPES)
def test_the_interface_is_uint8_or_float32_at_every_precision(float_type: Precision, form: InputFormat) -> None:
    core = convert_floats(tiny_core(blocks=3).core, float_type)
    model = fold_interface(core, Preprocessing(), input_format=form, float_type=float_type)
    proto = onnx.load_from_string(to_bytes(model))
    onnx.checker.check_model(proto, full_check=True)
    (given,) = model.graph.inputs
    side = IMAGE_SIZE
    if form is InputFormat.UINT8_NHWC:
        assert (given.name, given.dtype, str(given.shape)) == (INPUT, ir.DataType.UINT8, f"[batch,{side},{side},3]")
    else:
        assert (given.name, given.dtype, str(given.shape)) == (INPUT, ir.DataType.FLOAT, f"[batch,3,{side},{side}]")
    assert [value.name for value in model.graph.outputs] == [LOGITS, PROBABILITIES]
    assert {value.dtype for value in model.graph.outputs} == {ir.DataType.FLOAT}
    assert {str(value.shape) for value in model.graph.outputs} == {"[batch,7]"}


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("form", BOTH)
def test_a_folded_network_answers_as_the_core_on_normalised_pixels(form: InputFormat, color: str) -> None:
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (3, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    core = tiny_core(blocks=3).core
    logits, probabilities = run_ort(
        fold_interface(core, PREPROCESSING[color], input_format=form), as_input(images, form)
    )
    (expected,) = run_ort(core, normalised(images, PREPROCESSING[color]).astype(np.float32))
    # The same float32 network on inputs that differ by 4e-6.
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * float(expected.std()))
    np.testing.assert_allclose(probabilities, softmax(expected), rtol=1e-3, atol=1e-6)


def test_a_fixed_batch_stays_fixed() -> None:
    model = fold_interface(tiny_core(radix=0, blocks=1, batch="2").core, Preprocessing())
    assert str(model.graph.inputs[0].shape) == f"[2,{IMAGE_SIZE},{IMAGE_SIZE},3]"
    assert {str(value.shape) for value in model.graph.outputs} == {"[2,7]"}


def test_the_core_is_left_as_it_was(window: ir.Model) -> None:
    for core in (window, tiny_core(blocks=3).core):
        before = digest(core)
        fold_interface(core, PREPROCESSING["bgr"])
        assert digest(core) == before


def test_nothing_is_left_of_the_old_input() -> None:
    model = fold_interface(tiny_core(blocks=3).core, PREPROCESSING["bgr"])
    names = {value.name for node in model.graph for value in (*node.inputs, *node.outputs) if value is not None}
    assert "preprocess.replaced" not in names
    assert {"preprocess.cast", "preprocess.reorder", "preprocess.normalised"} <= names
