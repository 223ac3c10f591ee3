"""Reading, writing and identifying graphs: the same graph gives the same bytes, and no file ends in a traceback."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from resnest_edge.errors import GraphError, OutputError
from resnest_edge.graph.model import (
    add_initializer,
    add_node,
    digest,
    first_line,
    load_graph,
    observing,
    save_graph,
    to_bytes,
    weighted_nodes,
)
from tests.support.graphs import parse
from tests.support.tiny import tiny_core

SMALL = """
    <ir_version: 10, opset_import: ["" : 20]>
    small (float[batch, 3, 4, 4] images) => (float[batch, 2] logits)
    <float[2, 3, 4, 4] w_weight = {WEIGHTS}>
    {
        conv = Conv(images, w_weight)
        logits = Flatten(conv)
    }
""".replace("WEIGHTS", ", ".join(str(value / 100) for value in range(96)))


@pytest.fixture
def small() -> ir.Model:
    return parse(SMALL)


def test_a_saved_graph_is_the_graph_that_is_loaded(tmp_path: Path) -> None:
    """Scales are tied to a digest, so the digest must survive the way through a file."""
    core = tiny_core(radix=0, blocks=1).core
    save_graph(core, tmp_path / "deep" / "model.onnx")
    loaded = load_graph(tmp_path / "deep" / "model.onnx")
    assert to_bytes(loaded) == to_bytes(core)
    assert digest(loaded) == digest(core)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model.onnx"]


def test_observing_gives_any_tensor_and_the_input_and_leaves_the_graph_alone(small: ir.Model) -> None:
    before = digest(small)
    graph, outputs = observing(small, ["conv", "images"])
    images = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    conv, given = session.run(outputs, {"images": images})
    assert conv.shape[:2] == (2, 2)
    np.testing.assert_array_equal(given, images)
    assert digest(small) == before


def test_the_digest_sees_weights_and_structure(small: ir.Model) -> None:
    first = digest(small)
    assert digest(small.clone()) == first
    assert len(first) == 64
    renamed = small.clone()
    renamed.graph.node(0).name = "another"
    changed = parse(SMALL.replace("0.95", "0.96"))
    assert len({first, digest(renamed), digest(changed)}) == 3


def test_an_invalid_graph_is_not_written(small: ir.Model, tmp_path: Path) -> None:
    for node in small.graph:
        if node.op_type == "Flatten":
            node.op_type = "Flatter"
    with pytest.raises(GraphError, match=r"rewritten graph is not valid ONNX \(No Op registered for Flatter"):
        save_graph(small, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_an_output_error(small: ir.Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        save_graph(small, tmp_path / "file" / "model.onnx")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "there is no such ONNX file"),
        (b"", "not a usable ONNX model"),
        (b"not ONNX at all", "not a usable ONNX model"),
        (b"\x89PNG\r\n\x1a\n", "not a usable ONNX model"),
        (onnx.ModelProto(ir_version=10).SerializeToString(), "not a usable ONNX model"),
    ],
)
def test_what_is_no_model_is_a_graph_error(tmp_path: Path, data: bytes | None, message: str) -> None:
    path = tmp_path / "model.onnx"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(GraphError, match=message) as caught:
        load_graph(path)
    assert caught.value.where == str(path)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="there is no such ONNX file"):
        load_graph(tmp_path)


def test_a_weight_in_another_file_that_is_missing_is_a_graph_error(tmp_path: Path) -> None:
    proto = ir.to_proto(tiny_core(radix=0, blocks=1).core)
    path = tmp_path / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert digest(load_graph(path))
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(GraphError, match=r"not a usable ONNX model .*weights\.bin"):
        load_graph(path)


def test_a_file_that_cannot_be_read_is_a_graph_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "model.onnx").write_bytes(b"")
    monkeypatch.setattr(onnx, "load", fail)
    with pytest.raises(GraphError, match=r"not a usable ONNX model .*Input/output error"):
        load_graph(tmp_path / "model.onnx")


def test_a_type_that_onnx_does_not_know_is_a_graph_error(small: ir.Model, tmp_path: Path) -> None:
    """ONNX's own checker lets it pass."""
    proto = ir.to_proto(small)
    proto.graph.input[0].type.tensor_type.elem_type = 99
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(GraphError, match="not a usable ONNX model"):
        load_graph(tmp_path / "model.onnx")


def test_damaged_bytes_load_or_are_a_graph_error(small: ir.Model, tmp_path: Path) -> None:
    """Truncated and flipped copies, from a fixed seed: any other exception would end as exit code 70, a bug of ours."""
    data, generator, refused = to_bytes(small), random.Random(0), 0
    path = tmp_path / "model.onnx"
    for _ in range(300):
        damaged = bytearray(data[: generator.randrange(len(data))] if generator.random() < 0.3 else data)
        for _ in range(generator.randrange(1, 4)):
            damaged[generator.randrange(min(len(damaged), 120))] = generator.randrange(256) if damaged else 0
        path.write_bytes(damaged)
        try:
            to_bytes(load_graph(path))
        except GraphError:
            refused += 1
    assert refused > 50


def test_weighted_nodes_are_those_with_a_constant_weight() -> None:
    model = parse("""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[2, 2] images, float[2, 2] other) => (float[2, 2] logits)
        <float[2, 2] w = {1, 2, 3, 4}>
        {
            a = MatMul(images, w)
            b = MatMul(a, other)
            c = Gemm(b, w)
            v = Constant <value = float[2, 2] {1, 2, 3, 4}> ()
            e = MatMul(c, v)
            d = Add(e, w)
            logits = Relu(d)
        }
    """)
    kinds = frozenset({"MatMul", "Gemm", "Conv"})
    found = [(node.outputs[0].name, weight.name) for node, weight in weighted_nodes(model.graph, kinds)]
    assert found == [("a", "w"), ("c", "w")]
    assert [node.op_type for node, _ in weighted_nodes(model.graph, frozenset({"Gemm"}))] == ["Gemm"]


def test_a_constant_is_added_once(small: ir.Model) -> None:
    value = add_initializer(small.graph, "half", np.array([0.5]), ir.DataType.FLOAT16)
    assert value.dtype == ir.DataType.FLOAT16
    assert small.graph.initializers["half"] is value
    add_node(small.graph, "Cast", [value], "wide", ir.DataType.FLOAT, attributes={"to": 1})
    to_bytes(small)
    with pytest.raises(GraphError, match=r"constant named half already"):
        add_initializer(small.graph, "half", np.array([0.25]), ir.DataType.FLOAT16)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("  one\ntwo"), "one"),
        (ValueError(), "ValueError"),
        (RuntimeError(" \n"), "RuntimeError"),
        (KeyError("k"), "'k'"),
    ],
)
def test_first_line_of_any_error(error: Exception, line: str) -> None:
    assert first_line(error) == line
