"""ONNX files: mutated message by message, read, adopted as classifiers, and their names read without onnx."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from random import Random
from typing import Any

import onnx
import onnx.parser
from google.protobuf.message import DecodeError
from onnx import TensorProto

from resnest_edge.backends.onnx_wire import node_outputs
from resnest_edge.errors import GraphError
from resnest_edge.graph.foreign import adopt_classifier
from resnest_edge.graph.model import INPUT, LOGITS, load_graph, to_bytes
from tests.fuzz.junk import NUMBERS, TEXTS, damage
from tests.fuzz.outcome import Outcome
from tests.support.foreign import write_foreign

_ATTENTION = """
<ir_version: 8, opset_import: ["" : 17]>
attention (float[N, 3, 16, 16] x) => (float[N, 5] y)
<float[4, 3, 3, 3] w = {W}, float[2, 4, 1, 1] v = {V}, float[5, 2] f = {F}, int64[2] shape = {0, -1},
 float[4] s = {1, 1, 1, 1}, float[4] b = {0, 0, 0, 0}, float[4] m = {0, 0, 0, 0}, float[4] r = {1, 1, 1, 1}>
{
  c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)
  n = BatchNormalization (c, s, b, m, r)
  a = Relu (n)
  p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)
  q, t = Split <axis = 1> (p)
  k = Sigmoid (q)
  h = Mul (k, t)
  u = Concat <axis = 1> (h, t)
  z = Conv (u, v)
  e = Clip (z)
  d = Add (z, e)
  g = GlobalAveragePool (d)
  j = Reshape (g, shape)
  l = Gemm <transB = 1> (j, f)
  y = Softmax <axis = 1> (l)
}
"""
_OPERATORS = ("Conv", "Relu", "Softmax", "Gemm", "Reshape", "Upsample", "BatchNormalization", "QuantizeLinear", "Nope")


class Models:
    """A reader to fuzz: classifiers of several opsets, as exporters write them."""

    name = "ONNX"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._path = folder / "model.onnx"
        variants: list[dict[str, Any]] = [{"opset": 9}, {"opset": 13}, {"opset": 20, "softmax": False, "batch": 2}]
        files = [write_foreign(folder / f"{number}.onnx", **options) for number, options in enumerate(variants)]
        self._seeds = [path.read_bytes() for path in files]
        text = _ATTENTION
        for name, size in (("{W}", 108), ("{V}", 8), ("{F}", 10)):
            text = text.replace(name, "{" + ", ".join(str((7 * n) % 5 - 2) for n in range(size)) + "}")
        self._seeds.append(onnx.parser.parse_model(text).SerializeToString())

    def check(self, random: Random) -> tuple[bytes, Outcome]:
        """Write one mutated model, and read it in each of our ways."""
        seed = random.choice(self._seeds)
        data = damage(seed, random) if random.random() < 0.15 else _mutate(seed, random)
        self._path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Ignoring unknown external data key")
            return data, self._read(data)

    def _read(self, data: bytes) -> Outcome:
        try:
            onnx.load_from_string(data)
            parsed = True
        except DecodeError:
            parsed = False
        with contextlib.suppress(GraphError):
            node_outputs(self._path)
        try:
            model = load_graph(self._path)
            classifier = adopt_classifier(model)
            to_bytes(classifier.core)
        except GraphError:
            return Outcome.REFUSED if parsed else Outcome.UNPARSED
        graph = classifier.core.graph
        assert [value.name for value in graph.inputs] == [INPUT] and [value.name for value in graph.outputs] == [LOGITS]
        assert all(node.name for node in graph)
        return Outcome.ACCEPTED


def _mutate(seed: bytes, random: Random) -> bytes:
    model = onnx.load_from_string(seed)
    for _ in range(random.choice((1, 1, 2, 3))):
        random.choice(_CHANGES)(model, random)
    data: bytes = model.SerializeToString()
    return data


def _number(random: Random) -> int:
    return max(-(2**63), min(2**63 - 1, random.choice(NUMBERS)))


def _text(random: Random) -> str:
    return random.choice(TEXTS).encode("utf-8", "replace").decode()


def _header(model: onnx.ModelProto, random: Random) -> None:
    opset = model.opset_import[0] if model.opset_import else model.opset_import.add()
    choice = random.randrange(5)
    if choice == 0:
        model.ir_version = _number(random)
    elif choice == 1:
        opset.version = random.choice((0, 1, 5, 6, 8, 11, 17, 19, 21, 25, 99, _number(random)))
    elif choice == 2:
        opset.domain = random.choice(("", "ai.onnx", "com.microsoft", _text(random)))
    elif choice == 3:
        model.opset_import.add(domain=random.choice(("", "ai.onnx", "x")), version=_number(random))
    else:
        model.ClearField(random.choice(("graph", "opset_import", "ir_version")))


def _node(model: onnx.ModelProto, random: Random) -> None:
    if not model.graph.node:
        return
    node = random.choice(model.graph.node)
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    choice = random.randrange(8)
    if choice == 0:
        node.op_type = random.choice((*_OPERATORS, _text(random)))
    elif choice == 1 and node.input:
        node.input[random.randrange(len(node.input))] = random.choice((*names, "", _text(random)))
    elif choice == 2 and node.output:
        node.output[random.randrange(len(node.output))] = random.choice((*names, "", INPUT, LOGITS))
    elif choice == 3:
        node.input.append(random.choice((*names, "")))
    elif choice == 4 and node.input:
        del node.input[random.randrange(len(node.input)) :]
    elif choice == 5:
        node.domain = random.choice(("ai.onnx", "com.microsoft", _text(random)))
    elif choice == 6:
        node.name = _text(random)
    else:
        model.graph.node.add().CopyFrom(node)


def _attribute(model: onnx.ModelProto, random: Random) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if not nodes:
        return
    attribute = random.choice(random.choice(nodes).attribute)
    choice = random.randrange(6)
    if choice == 0:
        attribute.i = _number(random)
    elif choice == 1 and attribute.ints:
        attribute.ints[random.randrange(len(attribute.ints))] = _number(random)
    elif choice == 2:
        attribute.ints.extend([_number(random)] * random.choice((1, 9)))
    elif choice == 3:
        attribute.type = random.randrange(15)
    elif choice == 4:
        attribute.name = random.choice(("axis", "pads", "group", "kernel_shape", _text(random)))
    else:
        graph = onnx.GraphProto()  # apart first: a message copied into itself crashes
        graph.CopyFrom(model.graph)
        attribute.g.CopyFrom(graph)


def _tensor(model: onnx.ModelProto, random: Random) -> None:
    if not model.graph.initializer:
        return
    tensor = random.choice(model.graph.initializer)
    choice = random.randrange(7)
    if choice == 0 and tensor.dims:
        tensor.dims[random.randrange(len(tensor.dims))] = _number(random)
    elif choice == 1:
        tensor.dims.append(_number(random))
    elif choice == 2:
        tensor.data_type = random.choice((*range(24), 99, -1))
    elif choice == 3:
        tensor.raw_data = tensor.raw_data[: random.randrange(len(tensor.raw_data) + 1)]
    elif choice == 4:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key=random.choice(("location", "offset", "length", "x")), value=_text(random))
    elif choice == 5:
        tensor.name = random.choice((tensor.name, "", INPUT, LOGITS, _text(random)))
    else:
        model.graph.initializer.add().CopyFrom(tensor)


def _interface(model: onnx.ModelProto, random: Random) -> None:
    values = [*model.graph.input, *model.graph.output]
    if not values:
        return
    value = random.choice(values)
    kind = value.type.tensor_type
    choice = random.randrange(7)
    if choice == 0 and kind.shape.dim:
        random.choice(kind.shape.dim).dim_value = _number(random)
    elif choice == 1 and kind.shape.dim:
        random.choice(kind.shape.dim).dim_param = _text(random)
    elif choice == 2:
        kind.shape.dim.add()
    elif choice == 3:
        kind.elem_type = random.choice((*range(24), 99))
    elif choice == 4:
        value.name = random.choice(("input", "output", INPUT, LOGITS, "r1", _text(random)))
    elif choice == 5:
        value.ClearField("type")
    else:
        random.choice((model.graph.input, model.graph.output)).add().CopyFrom(value)


def _order(model: onnx.ModelProto, random: Random) -> None:
    nodes = list(model.graph.node)
    random.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes[: random.choice((len(nodes), len(nodes), random.randrange(len(nodes) + 1)))])


_CHANGES = (_header, _node, _node, _attribute, _attribute, _tensor, _tensor, _interface, _interface, _order)
