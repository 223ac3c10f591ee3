"""Somebody else's classifier as a core graph: the same answers under our names, or the reason why not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from resnest_edge.errors import GraphError
from resnest_edge.graph.foreign import adopt_classifier
from resnest_edge.graph.model import to_bytes
from tests.support.onnx_run import run_ort

BODY = "a = Conv(pixels, w)  b = GlobalAveragePool(a)  scores = Flatten(b)"
IMAGES = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)


def foreign(
    body: str = f"{BODY}  out = Softmax(scores)",
    *,
    given: str = "float[n, 3, 4, 4] pixels",
    gives: str = "float[n, 2] out",
    opset: int = 13,
    ir_version: int = 8,
    imports: str = "",
) -> ir.Model:
    """A two-class network over one 1×1 convolution."""
    text = f"""
        <ir_version: {ir_version}, opset_import: ["" : {opset}{imports}]>
        g ({given}) => ({gives}) <float[2, 3, 1, 1] w = {{1, 2, 3, -1, 0.5, -2}}> {{ {body} }}
    """
    return ir.from_proto(onnx.parser.parse_model(text))


def scores() -> npt.NDArray[np.float64]:
    """The network's logits, in NumPy."""
    weight = np.array([[1, 2, 3], [-1, 0.5, -2]])
    return np.asarray(np.einsum("nchw,oc->no", IMAGES, weight) / 16)


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 20, 21])
@pytest.mark.parametrize("softmax", [True, False])
def test_a_classifier_keeps_its_logits_under_our_names(opset: int, softmax: bool) -> None:
    """Before opset 13 a softmax had another default axis; either way it is cut off."""
    model = foreign(opset=opset) if softmax else foreign(BODY, gives="float[n, 2] scores", opset=opset)
    adopted = adopt_classifier(model)
    assert [value.name for value in adopted.core.graph.inputs] == ["images"]
    assert [value.name for value in adopted.core.graph.outputs] == ["logits"]
    assert (adopted.image_size, adopted.num_classes, adopted.batch) == (4, 2, None)
    assert adopted.core.graph.opset_imports[""] == max(opset, 20)
    assert adopted.core.ir_version == 10
    # Sums of 48 products in float32.
    np.testing.assert_allclose(run_ort(adopted.core, IMAGES)[0], scores(), rtol=0, atol=1e-5)


def test_log_probabilities_are_logits_too() -> None:
    adopted = adopt_classifier(foreign(f"{BODY}  out = LogSoftmax(scores)"))
    (logits,) = run_ort(adopted.core, IMAGES)
    np.testing.assert_allclose(np.exp(logits).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(logits - scores(), (logits - scores())[:, :1].repeat(2, 1), atol=1e-5)


def test_what_is_open_is_none_and_what_is_fixed_is_told() -> None:
    opened = adopt_classifier(foreign(given="float[n, 3, s, s] pixels", gives="float[n, classes] out"))
    assert (opened.image_size, opened.num_classes, opened.batch) == (None, None, None)
    fixed = adopt_classifier(foreign(given="float[5, 3, 4, 4] pixels", gives="float[5, 2] out"))
    assert (fixed.image_size, fixed.num_classes, fixed.batch) == (4, 2, 5)


def test_nodes_without_names_get_them() -> None:
    adopted = adopt_classifier(foreign())
    assert [node.name for node in adopted.core.graph] == ["Conv.1", "GlobalAveragePool.1", "Flatten.1"]


@pytest.mark.parametrize("first", [True, False])
def test_weights_listed_as_inputs_are_no_inputs(first: bool) -> None:
    """As IR version 3 wrote them, in any order."""
    model = foreign(ir_version=3)
    weight = model.graph.initializers["w"]
    model.graph.inputs.insert(0 if first else 1, weight)
    adopted = adopt_classifier(model)
    assert [value.name for value in adopted.core.graph.inputs] == ["images"]
    np.testing.assert_allclose(run_ort(adopted.core, IMAGES)[0], scores(), rtol=0, atol=1e-5)
    onnx.checker.check_model(onnx.load_from_string(to_bytes(adopted.core)), full_check=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"given": "float[n, 3, 4, 4] pixels, float[1] other"}, r"one input and one output; this has 2 and 1"),
        ({"gives": "float[n, 2] out, float[n, 2] scores"}, r"this has 1 and 2"),
        ({"given": "float[n, 4, 4, 3] pixels"}, r"not 3 channels.*looks like NHWC"),
        ({"given": "float[n, 1, 4, 4] pixels"}, r"the second dimension is not 3 channels$"),
        ({"given": "float16[n, 3, 4, 4] pixels"}, r"FLOAT16 .*not a float32 NCHW batch"),
        ({"given": "uint8[n, 3, 4, 4] pixels"}, r"UINT8 .*not a float32 NCHW batch"),
        ({"given": "float[3, 4, 4] pixels"}, r"not a float32 NCHW batch"),
        ({"given": "float[n, 3, 4, 6] pixels"}, r"only square inputs"),
        ({"body": f"{BODY}  out = Identity(a)", "gives": "float[n, 2, 4, 4] out"}, r"not \(N, classes\)"),
        ({"body": f"{BODY}  images = Relu(b)  out = Identity(scores)"}, r"called 'images' already"),
        ({"body": f"{BODY}  logits = Relu(b)  out = Identity(scores)"}, r"called 'logits' already"),
        (
            {"body": f"{BODY}  out = com.acme.Blur(scores)", "imports": ', "com.acme" : 1'},
            r"operators outside ONNX's own set are not supported \(com\.acme\)",
        ),
        # Upsample left the standard at opset 10, and nothing converts it.
        (
            {"body": "a = Upsample(pixels, w)  b = GlobalAveragePool(a)  out = Flatten(b)", "opset": 8},
            r"opset 8 does not convert to 20 \(",
        ),
        # The converter has an exception of its own for what it cannot make sense of.
        ({"body": f"{BODY}  out = Softmax(undefined)"}, r"opset 13 does not convert to 20 \(.*undefined"),
        (
            {"body": f"{BODY}  q = DynamicQuantizeLinear(scores)  out = Identity(scores)", "opset": 0},
            r"opset 0 does not convert to 20",
        ),
    ],
)
def test_what_is_no_classifier_of_ours_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        adopt_classifier(foreign(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("operator", ["QuantizeLinear", "DequantizeLinear", "QLinearConv"])
def test_a_quantized_model_is_refused(operator: str) -> None:
    model = foreign()
    model.graph.append(ir.node(operator, [model.graph.initializers["w"]]))
    with pytest.raises(GraphError, match=r"quantized already.*FP32"):
        adopt_classifier(model)
