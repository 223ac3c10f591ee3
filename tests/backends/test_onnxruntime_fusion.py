"""What ONNX Runtime makes of the INT8 graph that its placement writes: the gate's means run in INT8."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from resnest_edge.backends.base import BuildOptions
from resnest_edge.backends.onnxruntime import ONNXRuntimeBackend
from resnest_edge.graph.model import save_graph
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import Form, Precision
from tests.backends.typed_graphs import typed_graph
from tests.support.tiny import tiny_core

BACKEND = ONNXRuntimeBackend()
PLACEMENT = BACKEND.int8_placement()
FLOAT_MEANS = ("ReduceMean", "GlobalAveragePool")


def engine(
    folder: Path, placement: Placement, radix: int, cardinality: int = 1, form: Form = Form.SPLIT
) -> Counter[str]:
    """How many of each operator are in the engine."""
    typed = typed_graph(Precision.INT8, radix, cardinality, form, placement=placement)
    save_graph(typed.model, folder / "model.onnx")
    built = BACKEND.build(folder / "model.onnx", typed.info, BuildOptions(), folder)
    return Counter(node.op_type for node in onnx.load(folder / built.files[0]).graph.node)


def gate_means(radix: int, cardinality: int) -> int:
    graph = tiny_core(radix, cardinality).core.graph
    return sum(node.op_type == "ReduceMean" and ".attention." in (node.name or "") for node in graph)


@pytest.mark.parametrize(("radix", "cardinality"), [(1, 1), (2, 1), (4, 2)])
def test_the_gate_s_means_are_in_int8(radix: int, cardinality: int, tmp_path: Path) -> None:
    found, means = engine(tmp_path, PLACEMENT, radix, cardinality), gate_means(radix, cardinality)
    assert means >= radix
    assert found["QLinearGlobalAveragePool"] == means
    assert sum(found[name] for name in FLOAT_MEANS) == 1, "only the classifier's, of the network's last map"


def test_written_as_means_they_are_in_float(tmp_path: Path) -> None:
    """What the test above would see if the placement did nothing."""
    plain, pools = (tmp_path / name for name in ("plain", "pools"))
    plain.mkdir()
    pools.mkdir()
    before = engine(plain, replace(PLACEMENT, global_pools=False), 2)
    after = engine(pools, PLACEMENT, 2)
    means = gate_means(2, 1)
    assert before["QLinearGlobalAveragePool"] == 0 and sum(before[name] for name in FLOAT_MEANS) == means + 1
    assert before["DequantizeLinear"] - after["DequantizeLinear"] == means
    assert before["QuantizeLinear"] - after["QuantizeLinear"] == means
    assert before["QLinearConv"] == after["QLinearConv"]
