"""PyTorch to core graph: the same answers at any batch, names that map to layers, only operators that fuse."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from resnest_edge.errors import GraphError, ParityError
from resnest_edge.graph.export import export_graph
from resnest_edge.graph.model import INPUT, LOGITS, digest, to_bytes, weighted_nodes
from resnest_edge.graph.parity import TOLERANCE, check_parity
from resnest_edge.graph.simplify import simplify_graph
from resnest_edge.quantize.placement import WEIGHTED
from resnest_edge.spec import BatchRange, Form
from tests.support.graphs import parse
from tests.support.onnx_run import run_ort
from tests.support.tiny import CLASSES, IMAGE_SIZE, KINDS, Tiny, tiny_core, tiny_module

ALLOWED = {"Add", "AveragePool", "Conv", "Div", "Exp", "Gemm", "Max", "MaxPool", "Mul", "ReduceMean", "Relu"} | {
    "Reshape",  # the flattening before the classifier
    "Sigmoid",
    "Split",
    "Sub",
}


@pytest.fixture(params=KINDS)
def tiny(request: pytest.FixtureRequest) -> Tiny:
    return tiny_core(**KINDS[request.param])


def pictures(batch: int, seed: int = 0) -> npt.NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((batch, 3, IMAGE_SIZE, IMAGE_SIZE)).astype(np.float32)


@torch.no_grad()
def pytorch(tiny: Tiny, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    logits: npt.NDArray[np.float32] = tiny.module(torch.from_numpy(images)).numpy()
    return logits


@pytest.mark.parametrize("stage", ["exported", "core"])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_onnx_runtime_answers_as_pytorch(tiny: Tiny, batch: int, stage: str) -> None:
    """A batch that the exporter specialised to its example of 2 would fail at 1 or 5."""
    images = pictures(batch)
    (logits,) = run_ort(getattr(tiny, stage), images)
    assert logits.shape == (batch, CLASSES)
    assert check_parity(pytorch(tiny, images), logits, what=stage) < TOLERANCE


def test_interface(tiny: Tiny) -> None:
    for model in (tiny.exported, tiny.core):
        assert [value.name for value in model.graph.inputs] == [INPUT]
        assert [value.name for value in model.graph.outputs] == [LOGITS]
        assert str(model.graph.inputs[0].shape) == f"[batch,3,{IMAGE_SIZE},{IMAGE_SIZE}]"
        assert model.graph.inputs[0].dtype == model.graph.outputs[0].dtype == ir.DataType.FLOAT
        assert model.graph.opset_imports == {"": 20}


def test_a_fixed_batch_is_fixed() -> None:
    tiny = tiny_core(radix=0, blocks=1, batch="2")
    (value,) = tiny.core.graph.inputs
    assert value.shape == ir.Shape([2, 3, IMAGE_SIZE, IMAGE_SIZE])
    images = pictures(2)
    check_parity(pytorch(tiny, images), run_ort(tiny.core, images)[0], what="fixed batch")
    with pytest.raises(Exception, match="invalid dimensions"):
        run_ort(tiny.core, pictures(3))


def test_node_and_value_names_are_unique(tiny: Tiny) -> None:
    for model in (tiny.exported, tiny.core):
        nodes = Counter(node.name for node in model.graph)
        values = Counter(value.name for node in model.graph for value in node.outputs)
        values.update([*model.graph.initializers, INPUT])
        assert not [name for name, count in (nodes + values).items() if not name]
        assert not [name for name, count in nodes.items() if count > 1]
        assert not [name for name, count in values.items() if count > 1]


def test_nodes_are_named_after_their_layers(tiny: Tiny) -> None:
    """Every weighted layer of the module names one node; every other node's name starts with a module."""
    modules = dict(tiny.module.named_modules())
    layers = {name for name, module in modules.items() if isinstance(module, nn.Conv2d | nn.Linear)}
    by_name = {node.name or "": node for node in tiny.core.graph}
    assert {name for name, node in by_name.items() if node.op_type in ("Conv", "Gemm")} == layers
    for name, node in by_name.items():
        if node.op_type in ("Conv", "Gemm"):
            assert (node.inputs[1] or ir.Value()).name == f"{name}.weight"
        else:
            owner = name.partition(f"{node.op_type}")[0].removesuffix(".")
            assert owner in modules, name
            # The network itself owns the stem's ReLUs and the head, and nothing else.
            assert owner or node.op_type in ("Relu", "ReduceMean", "Reshape"), name


def test_values_are_named_after_their_nodes() -> None:
    for node in tiny_core(blocks=3).core.graph:
        for value in node.outputs:
            assert value.is_graph_output() or (value.name or "").startswith(f"{node.name}.out")


def test_only_operators_that_fuse(tiny: Tiny) -> None:
    assert {node.op_type for node in tiny.core.graph} <= ALLOWED
    inside = [node for node in tiny.core.graph if "split_attention" in (node.name or "")]
    assert not {node.op_type for node in inside} & {"Reshape", "Softmax", "ReduceSum", "Transpose", "Concat", "Slice"}
    assert len([node for node in tiny.core.graph if node.op_type == "Reshape"]) == 1


def test_the_training_form_is_what_the_inference_form_avoids() -> None:
    """The check above can fail: as trained, the block exports its 5-D softmax."""
    from resnest_edge.models.resnest import SplitAttention

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.split_attention = SplitAttention(4, 2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.flatten(self.split_attention(torch.cat([x, x[:, :1]], 1)), 1)

    graph = export_graph(Classifier().eval(), image_size=4, batch=BatchRange(1, 1, 1))
    inside = {node.op_type for node in simplify_graph(graph).graph if "split_attention" in (node.name or "")}
    assert {"Softmax", "Reshape"} <= inside


def test_the_digest_is_that_of_the_network() -> None:
    """Two exports of one network agree to the byte; another weight does not."""
    first = tiny_core(radix=0, blocks=1)
    again = export_graph(tiny_module(0, 1, Form.SPLIT, blocks=1), image_size=IMAGE_SIZE, batch=BatchRange(1, 2, 8))
    assert digest(again) == digest(first.exported)
    assert to_bytes(simplify_graph(again)) == to_bytes(first.core)
    weight = again.graph.initializers["fc.weight"]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(np.nextafter(weight.const_value.numpy(), np.float32(9)), name="fc.weight")
    assert digest(simplify_graph(again)) != digest(first.core)


@pytest.mark.parametrize("stage", ["exported", "core"])
def test_no_provenance_is_left(stage: str) -> None:
    """A bundle tells nobody where, by whom and with which build it was made."""
    proto = onnx.load_from_string(to_bytes(getattr(tiny_core(blocks=3), stage)))
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")  # weights are not text
    data = proto.SerializeToString()
    assert b"layer2.1.split_attention.attention.fc1" in data
    assert not re.search(rb"/\w+/", data), "a path"
    for trace in (".py", "InferenceResNeSt", "stack_trace", "pkg.torch", torch.__version__):
        assert trace.encode() not in data, trace


def test_a_perturbed_weight_fails_parity() -> None:
    tiny = tiny_core(blocks=3)
    model = tiny.core.clone()
    weight = model.graph.initializers["layer2.0.conv3.weight"]
    assert weight.const_value is not None
    array = weight.const_value.numpy().copy()
    array[0, 0, 0, 0] += 0.1
    weight.const_value = ir.tensor(array, name=weight.name)
    images = pictures(2)
    with pytest.raises(ParityError, match="core: logits differ by"):
        check_parity(pytorch(tiny, images), run_ort(model, images)[0], what="core")


def test_what_cannot_be_exported_is_a_graph_error() -> None:
    class DataDependent(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(GraphError, match="PyTorch cannot export this network"):
        export_graph(DataDependent().eval(), image_size=8, batch=BatchRange(1, 1, 1))


def test_simplifying_twice_changes_nothing() -> None:
    core = tiny_core(blocks=3).core
    assert to_bytes(simplify_graph(core)) == to_bytes(core)


def test_simplifying_turns_constant_nodes_into_weights() -> None:
    """A weight in a Constant node would be passed over by everything that looks for weights."""
    model = parse("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[2, 2] images) => (float[2, 2] logits)
        { w = Constant <value = float[2, 2] {1, 2, 3, 4}> ()  a = MatMul(images, w)  logits = Relu(a) }
    """)
    assert not list(weighted_nodes(model.graph, WEIGHTED))
    simplified = simplify_graph(model)
    assert [(node.name, weight.name) for node, weight in weighted_nodes(simplified.graph, WEIGHTED)] == [("a", "w")]
    assert [node.op_type for node in simplified.graph] == ["MatMul", "Relu"]


def test_simplify_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    """With --json, stdout holds one JSON object and nothing else."""
    simplify_graph(tiny_core(radix=0, blocks=1).exported)
    export_graph(nn.Flatten().eval(), image_size=2, batch=BatchRange(1, 1, 1))
    assert capfd.readouterr() == ("", "")
