"""OpenVINO's answers in every precision it takes, against ONNX Runtime with the FP32 graph of the same scales."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from resnest_edge import environment
from resnest_edge.backends.base import BuildOptions, SessionOptions
from resnest_edge.backends.openvino import OpenVINOBackend
from resnest_edge.errors import UsageError
from resnest_edge.graph.model import save_graph
from resnest_edge.pipeline.typed import TypedGraph
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import Precision, QdqStyle
from tests.backends.typed_graphs import typed_graph
from tests.gpu.comparison import check_against, pictures

BACKEND = OpenVINOBackend()
STYLES = [QdqStyle.CPU, QdqStyle.PORTABLE]
# A scale rounded to BF16 is off by up to 0.4 %; INT8 between BF16 has those and the activations' own rounding.
FLOORS_DB = {Precision.FP32: 80.0, Precision.BF16: 30.0}


@pytest.fixture(params=["as it is", "without BF16"])
def _machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine, and one whose CPU has no BF16 arithmetic, which is given FP32 instead."""
    if request.param == "without BF16":
        monkeypatch.setattr(environment, "has_bf16", lambda: False)


def check(typed: TypedGraph, reference: TypedGraph, folder: Path, floor_db: float) -> Precision:
    """Build, load and compare; returns what the build says it runs in."""
    save_graph(typed.model, folder / "model.onnx")
    built = BACKEND.build(folder / "model.onnx", typed.info, BuildOptions(), folder)
    with BACKEND.load(folder / built.files[0], typed.info, SessionOptions(batch=2)) as session:
        check_against(session, reference, pictures(6), floor_db)
    return built.precision_run


@pytest.mark.usefixtures("_machine")
@pytest.mark.parametrize("style", STYLES, ids=str)
@pytest.mark.parametrize("float_type", list(FLOORS_DB), ids=str)
def test_int8_between_either_float_type(float_type: Precision, style: QdqStyle, tmp_path: Path) -> None:
    """With 7-bit weights, which every CPU multiplies without overflow."""
    placement = Placement(style, weight_bits=7)
    reference = typed_graph(Precision.INT8, placement=placement)
    typed = typed_graph(Precision.INT8, placement=replace(placement, float_type=float_type))
    floor = min(FLOORS_DB[float_type], 35.0)  # a value that falls on the other side of a rounding edge is a step off
    assert check(typed, reference, tmp_path, floor) is Precision.INT8


@pytest.mark.usefixtures("_machine")
@pytest.mark.parametrize("precision", list(FLOORS_DB), ids=str)
def test_floats(precision: Precision, tmp_path: Path) -> None:
    run = check(typed_graph(precision), typed_graph(Precision.FP32), tmp_path, FLOORS_DB[precision])
    assert run is (precision if precision is Precision.FP32 or environment.has_bf16() else Precision.FP32)


def test_an_engine_is_stored_in_the_types_of_its_graph(tmp_path: Path) -> None:
    """It is widened when it is loaded, not on the disk."""
    sizes = {}
    for precision in FLOORS_DB:
        folder = tmp_path / precision
        folder.mkdir()
        save_graph(typed_graph(precision).model, folder / "model.onnx")
        BACKEND.build(folder / "model.onnx", typed_graph(precision).info, BuildOptions(), folder)
        sizes[precision] = (folder / "engine.bin").stat().st_size
    assert sizes[Precision.BF16] < 0.6 * sizes[Precision.FP32]


def test_noise_is_not_taken_for_an_answer(tmp_path: Path) -> None:
    """What the floors are for: one kernel with another's channels."""
    broken = typed_graph(Precision.FP32)
    weight = broken.model.graph.initializers["stem.conv2.weight"]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(np.ascontiguousarray(weight.const_value.numpy()[::-1]))
    with pytest.raises(AssertionError, match="dB of logit SQNR"):
        check(broken, typed_graph(Precision.FP32), tmp_path, 20.0)


def test_fp16_is_refused_with_what_to_use() -> None:
    with pytest.raises(UsageError, match="does not compute in FP16") as caught:
        BACKEND.check(Precision.FP16)
    assert "bf16" in str(caught.value.hint)
