"""TensorRT's rules for a Q/DQ graph hold in every kind of graph written for it, and fail where they are broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from resnest_edge.backends.tensorrt.placement import PLACEMENT_INT8
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import Form, Precision, QdqStyle
from tests.backends import graph_rules
from tests.backends.graph_rules import RULES, Graph
from tests.backends.typed_graphs import typed_graph

KINDS = [
    (0, 1, Form.SPLIT),
    (1, 1, Form.SPLIT),
    (2, 1, Form.SPLIT),
    (2, 1, Form.GROUPED),
    (2, 2, Form.DENSE),
    (2, 2, Form.SPLIT),
    (4, 2, Form.GROUPED),
]


@cache
def graph(radix: int, cardinality: int, form: Form) -> Graph:
    return Graph(typed_graph(Precision.INT8, radix, cardinality, form).model)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
def test_every_kind_of_graph(kind: tuple[int, int, Form], rule: Callable[[Graph], None]) -> None:
    rule(graph(*kind))


@pytest.mark.parametrize(
    ("placement", "broken"),
    [
        (replace(PLACEMENT_INT8, style=QdqStyle.CPU), "zero_points_are_int8_and_zero"),
        (replace(PLACEMENT_INT8, float_type=Precision.FP32), "scales_are_fp16_positive_and_normal"),
        (
            replace(PLACEMENT_INT8, keep_float=frozenset({"layer1.0.conv3"})),
            "convolutions_read_both_operands_dequantized_and_their_bias_as_it_is",
        ),
        (replace(PLACEMENT_INT8, shortcuts=False), "residual_adds_are_quantized_on_the_shortcut_only"),
        (replace(PLACEMENT_INT8, outputs=True), "residual_adds_are_quantized_on_the_shortcut_only"),
        (replace(PLACEMENT_INT8, elementwise=frozenset({"Mul"})), "nothing_else_is_quantized"),
    ],
)
def test_another_placement_breaks_the_rule_that_it_should(placement: Placement, broken: str) -> None:
    with pytest.raises(AssertionError):
        getattr(graph_rules, broken)(Graph(typed_graph(Precision.INT8, placement=placement).model))
