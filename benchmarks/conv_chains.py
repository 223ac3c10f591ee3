"""What a machine's convolutions reach at best: chains of plain ones of a ResNeSt's shapes.

A shape that changes the number of channels is followed by its mirror, so that pairs of the two make a chain; ReLU is
behind each convolution, and Q/DQ behind that in INT8. A rate is taken from the difference of a long chain and a short
one, in which input, output and the runtime's own time cancel. Every layer has weights of its own, as in a network.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from resnest_edge import environment
from resnest_edge.backends.onnxruntime import FLOAT_KERNELS, INT8_KERNELS
from resnest_edge.models.config import EXPANSION, ResNeStConfig
from resnest_edge.spec import Precision, Target

SHORT, LONG = 2, 8
"""Pairs of convolutions in the two chains whose difference counts."""

_OPSET = 20
_STEP = np.float32(4 / 255)  # activations of unit variance rarely pass 4


@dataclass(frozen=True)
class Shape:
    """A convolution with a stride of 1, and what of the network has its shape.

    Attributes:
        stage: ``stem``, ``stage 1`` … ``stage 4``, or ``plain`` for shapes that no ResNeSt has.
        kind: ``3×3``, ``1×1 in`` (into the splits), ``1×1 out`` (out of the block), ``1×1 shortcut``.
        inputs: channels.
        outputs: channels.
        kernel: side of its window.
        side: of the map, pixels.
        groups: of channels.
    """

    stage: str
    kind: str
    inputs: int
    outputs: int
    kernel: int
    side: int
    groups: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.inputs // self.groups * self.outputs * self.kernel**2 * self.side**2

    def words(self) -> str:
        """``3×3, 32 → 64 at 56×56``."""
        grouped = f", {self.groups} groups" if self.groups > 1 else ""
        kernel = f"{self.kernel}×{self.kernel}"
        return f"{kernel}, {self.inputs} → {self.outputs} at {self.side}×{self.side}{grouped}"


def shapes(config: ResNeStConfig, image_size: int) -> Iterator[Shape]:
    """The shapes of a network's split form, stage by stage."""
    width, side = config.stem_width, -(-image_size // 2)
    yield Shape("stem", "3×3", width, width, 3, side)
    yield Shape("stem", "3×3", width, 2 * width, 3, side)
    before = 2 * width
    for number, planes in enumerate(config.planes, start=1):
        side = -(-side // 2)
        stage, inner, out = f"stage {number}", config.group_width(planes), planes * EXPANSION
        radix = max(config.radix, 1)
        yield Shape(stage, "1×1 in", out, inner // radix, 1, side)
        yield Shape(stage, "3×3", inner // radix, inner, 3, side, config.cardinality)
        yield Shape(stage, "1×1 out", inner, out, 1, side)
        yield Shape(stage, "1×1 shortcut", before, out, 1, side)
        before = out


def plain_shapes() -> Iterator[Shape]:
    """Square convolutions that fill the machine better than a network's own: candidates for the best rate of all."""
    yield Shape("plain", "3×3", 128, 128, 3, 28)
    yield Shape("plain", "3×3", 256, 256, 3, 14)
    yield Shape("plain", "1×1", 256, 256, 1, 28)
    yield Shape("plain", "1×1", 512, 512, 1, 14)


def chain(shape: Shape, pairs: int, quantized: bool) -> bytes:
    """A chain as a serialised ONNX graph: float maps (1, C, S, S) in and out.

    Args:
        shape: of the first convolution of each pair, or of the second where it widens: maps begin narrow.
        pairs: of convolutions.
        quantized: uint8 activations and int8 weights, a scale for each output channel; else float32.
    """
    narrow, wide = sorted((shape.inputs, shape.outputs))
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = [_constant("step", _STEP), _constant("zero", np.uint8(0))]
    here = _rounded("input", nodes) if quantized else "input"
    for index in range(2 * pairs):
        ends = (narrow, wide) if index % 2 == 0 else (wide, narrow)
        weight = _weight(f"weight{index}", ends, shape, random, constants, nodes if quantized else None)
        pads = [shape.kernel // 2] * 4
        nodes.append(helper.make_node("Conv", [here, weight], [f"conv{index}"], pads=pads, group=shape.groups))
        nodes.append(helper.make_node("Relu", [f"conv{index}"], [f"relu{index}"]))
        here = _rounded(f"relu{index}", nodes) if quantized else f"relu{index}"
    dims = [1, narrow, shape.side, shape.side]
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, dims)
    made = helper.make_tensor_value_info(here, TensorProto.FLOAT, dims)
    graph = helper.make_graph(nodes, "chain", [given], [made], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _rounded(name: str, nodes: list[onnx.NodeProto]) -> str:
    nodes.append(helper.make_node("QuantizeLinear", [name, "step", "zero"], [f"{name}.q"]))
    nodes.append(helper.make_node("DequantizeLinear", [f"{name}.q", "step", "zero"], [f"{name}.dq"]))
    return f"{name}.dq"


def _weight(
    name: str,
    ends: tuple[int, int],
    shape: Shape,
    random: np.random.Generator,
    constants: list[onnx.TensorProto],
    nodes: list[onnx.NodeProto] | None,
) -> str:
    """A random weight that keeps the variance; ``nodes`` dequantize it where there are any."""
    inputs, outputs = ends
    fan = inputs // shape.groups * shape.kernel**2
    values = random.normal(0, (2 / fan) ** 0.5, (outputs, inputs // shape.groups, shape.kernel, shape.kernel))
    if nodes is None:
        constants.append(_constant(name, values.astype(np.float32)))
        return name
    scales = np.abs(values).max(axis=(1, 2, 3)) / 127
    integers = np.rint(values / scales[:, None, None, None]).astype(np.int8)
    parts = {".int8": integers, ".scale": scales.astype(np.float32), ".zero": np.zeros(outputs, np.int8)}
    constants += [_constant(name + end, part) for end, part in parts.items()]
    nodes.append(helper.make_node("DequantizeLinear", [name + end for end in parts], [name], axis=0))
    return name


def _constant(name: str, values: npt.NDArray[Any] | np.generic) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


Run = Callable[[], object]


def compiled(graph: bytes, target: Target, precision: Precision) -> tuple[Run, dict[str, int]]:
    """A chain made ready to run once, and the kernels or precisions that its convolutions really run in, counted."""
    return _openvino(graph, precision) if target is Target.OPENVINO else _onnxruntime(graph)


def _openvino(graph: bytes, precision: Precision) -> tuple[Run, dict[str, int]]:
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BF16 else "f32",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": environment.usable_cores(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = core.compile_model(core.read_model(graph), "CPU", settings)
    request = model.create_infer_request()
    request.set_input_tensor(openvino.Tensor(_pixels(tuple(model.inputs[0].shape))))
    notes = [operation.get_rt_info() for operation in model.get_runtime_model().get_ops()]
    ran = Counter(str(n["runtimePrecision"].value) for n in notes if n["layerType"].value == "Convolution")
    return request.infer, dict(ran)


def _onnxruntime(graph: bytes) -> tuple[Run, dict[str, int]]:
    import tempfile
    from pathlib import Path

    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = environment.usable_cores()
    settings.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        settings.optimized_model_filepath = str(Path(folder) / "chain.onnx")
        session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
        ran = Counter(node.op_type for node in onnx.load(settings.optimized_model_filepath).graph.node)
    given = {"input": _pixels(tuple(session.get_inputs()[0].shape))}
    kernels = {name: count for name, count in ran.items() if name in INT8_KERNELS | FLOAT_KERNELS}
    return lambda: session.run(None, given), kernels


def _pixels(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).uniform(0, 2, shape).astype(np.float32)


def milliseconds(run: Run, seconds: float) -> list[float]:
    """Times of the runs within a slice of time, of three at least, after one that is not counted."""
    run()
    spans: list[float] = []
    begun = time.perf_counter()
    while len(spans) < 3 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        run()
        spans.append(1000 * (time.perf_counter() - start))
    return spans
