"""Every published variant, in every precision of the CPU runtimes: built, loaded, and its answers compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnest_edge.backends.base import BuildOptions, SessionOptions
from resnest_edge.graph.model import save_graph
from resnest_edge.models.variants import VARIANTS
from resnest_edge.pipeline.runtimes import backend_for
from resnest_edge.pipeline.typed import write_typed
from resnest_edge.spec import Precision, Target
from tests.backends.typed_graphs import VARIANT_SIDE, made_up_scales, variant_network
from tests.support.onnx_run import run_ort

pytestmark = pytest.mark.slow

KINDS = [
    (Target.OPENVINO, Precision.FP32),
    (Target.OPENVINO, Precision.BF16),
    (Target.OPENVINO, Precision.INT8),
    (Target.ONNXRUNTIME, Precision.FP32),
    (Target.ONNXRUNTIME, Precision.INT8),
]
# 200 and 269 layers of 8 bits, at ranges that no picture was asked for: a value beyond a rounding edge is a step off.
FLOORS_DB = {Precision.FP32: 80.0, Precision.BF16: 20.0, Precision.INT8: 12.0}


@pytest.mark.parametrize(("target", "precision"), KINDS, ids=str)
@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_variant_answers(name: str, target: Target, precision: Precision, tmp_path: Path) -> None:
    made, backend = variant_network(name), backend_for(target)
    placement = backend.int8_placement()
    scales = made_up_scales(made.core, placement)
    typed = write_typed(made, precision, placement, scales)
    same = precision if precision is Precision.INT8 else Precision.FP32
    reference = write_typed(made, same, replace(placement, float_type=Precision.FP32), scales)
    save_graph(typed.model, tmp_path / "model.onnx")
    built = backend.build(tmp_path / "model.onnx", typed.info, BuildOptions(), tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (2, VARIANT_SIDE, VARIANT_SIDE, 3), np.uint8)
    with backend.load(tmp_path / built.files[0], typed.info, SessionOptions(batch=2)) as session:
        given = session.run(images).logits
    wanted = run_ort(reference.model, images)[0]
    sqnr_db = 10 * np.log10(np.square(wanted).sum() / max(float(np.square(wanted - given).sum()), 1e-30))
    assert sqnr_db >= FLOORS_DB[precision]
    if precision is not Precision.BF16:  # which not every CPU computes
        assert built.precision_run is precision
