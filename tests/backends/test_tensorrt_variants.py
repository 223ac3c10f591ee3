"""Every published variant, in every precision, through the real parser and builder of TensorRT for RTX."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnest_edge.backends.base import BuildOptions
from resnest_edge.backends.tensorrt import TensorRTBackend
from resnest_edge.backends.tensorrt.placement import PLACEMENT_INT8
from resnest_edge.graph.model import save_graph
from resnest_edge.models.variants import VARIANTS
from resnest_edge.pipeline.typed import write_typed
from resnest_edge.spec import Precision, Target
from tests.backends.graph_rules import RULES, Graph
from tests.backends.typed_graphs import made_up_scales, variant_network

pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX: pip install 'resnest-edge[rtx]'")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("precision", list(Precision), ids=str)
@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_builds(name: str, precision: Precision, tmp_path: Path) -> None:
    made = variant_network(name)
    typed = write_typed(made, precision, PLACEMENT_INT8, made_up_scales(made.core, PLACEMENT_INT8))
    if precision is Precision.INT8:
        graph = Graph(typed.model)
        for rule in RULES:
            rule(graph)
    save_graph(typed.model, tmp_path / "model.onnx")
    options = BuildOptions(compute_capabilities=("8.9",))
    built = TensorRTBackend(Target.TENSORRT_RTX).build(tmp_path / "model.onnx", typed.info, options, tmp_path)
    assert built.details["matrix_layers"] == {str(precision): len(typed.layers)}
    narrow = precision is Precision.INT8 and "4s2x40d" in name  # groups of 10 channels in its first stage
    assert bool(built.details.get("narrow_groups")) is narrow
