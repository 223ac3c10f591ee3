"""Means over height and width as global pools: which are, which are not, and that they stay equal."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from resnest_edge.graph.model import to_bytes
from resnest_edge.quantize.global_pools import means_as_pools
from resnest_edge.quantize.insertion import activation_tensors, quantize_graph
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import QdqStyle
from tests.support.calibrated import pictures, tiny_scales
from tests.support.graphs import parse
from tests.support.onnx_run import run_ort, run_reference
from tests.support.tiny import KINDS, tiny_core


def mean(rank: int, axes: list[int], attributes: str = "") -> ir.Model:
    """A mean of a tensor of 2 in every dimension; the output's dimensions are left open."""
    shape, dropped = ", ".join(["2"] * rank), len(axes) if "keepdims" in attributes else 0
    given = ", ".join(f"n{index}" for index in range(rank - dropped))
    listed = ", ".join(map(str, axes))
    return parse(f"""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[{shape}] images) => (float[{given}] logits) <int64[{len(axes)}] axes = {{{listed}}}>
        {{ logits = ReduceMean{attributes}(images, axes) }}
    """)


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [3, -2]])
def test_a_spatial_mean_becomes_a_pool(axes: list[int]) -> None:
    model, images = mean(4, axes), np.random.default_rng(0).standard_normal((2, 2, 2, 2)).astype(np.float32)
    before = run_reference(model, images)[0]
    assert means_as_pools(model.graph) == 1
    (pool,) = model.graph
    assert (pool.op_type, pool.name, len(pool.inputs), dict(pool.attributes)) == ("GlobalAveragePool", "logits", 1, {})
    assert not model.graph.initializers
    np.testing.assert_allclose(run_reference(model, images)[0], before, rtol=1e-6)
    once = to_bytes(model)
    assert means_as_pools(model.graph) == 0 and to_bytes(model) == once


@pytest.mark.parametrize(
    "model",
    [
        mean(4, [1, 2]),
        mean(4, [2]),
        mean(3, [1, 2]),
        mean(5, [2, 3]),
        mean(4, [2, 3], " <keepdims = 0>"),
    ],
    ids=["other axes", "one axis", "three dimensions", "five dimensions", "dimensions dropped"],
)
def test_other_means_stay(model: ir.Model) -> None:
    before = to_bytes(model)
    assert means_as_pools(model.graph) == 0 and to_bytes(model) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_keeps_its_answers_its_names_and_its_calibration(kind: str) -> None:
    tiny = tiny_core(**KINDS[kind])
    core = tiny.core.clone()
    means = [node.name for node in core.graph if node.op_type == "ReduceMean"]
    assert means and means_as_pools(core.graph) == len(means)
    assert [node.name for node in core.graph if node.op_type == "GlobalAveragePool"] == means
    images = pictures(2)
    np.testing.assert_allclose(run_ort(core, images)[0], run_ort(tiny.core, images)[0], rtol=1e-4, atol=1e-5)
    for elementwise in (frozenset[str](), frozenset({"Add", "Mul"})):
        placement = Placement(QdqStyle.CPU, outputs=True, elementwise=elementwise, global_pools=True)
        assert activation_tensors(tiny.core, placement) == activation_tensors(core, placement)


def test_only_a_placement_that_wants_pools_gets_them() -> None:
    tiny, plain = tiny_core(**KINDS["split"]), Placement(QdqStyle.CPU, outputs=True)
    pools = Placement(QdqStyle.CPU, outputs=True, global_pools=True)
    scales = tiny_scales(tiny, plain)

    def kinds(placement: Placement) -> set[str]:
        return {node.op_type for node in quantize_graph(tiny.core, scales, placement).graph}

    assert "ReduceMean" in kinds(plain) and "GlobalAveragePool" not in kinds(plain)
    assert "GlobalAveragePool" in kinds(pools) and "ReduceMean" not in kinds(pools)
    assert any(node.op_type == "ReduceMean" for node in tiny.core.graph), "the core is left as it was"
