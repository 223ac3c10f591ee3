"""Typed graphs of every kind of block through the real parser and builder of TensorRT for RTX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resnest_edge.backends.base import BuildOptions, BuiltEngine
from resnest_edge.backends.tensorrt.placement import PLACEMENT_INT8
from resnest_edge.pipeline.typed import TypedGraph
from resnest_edge.spec import Form, InputFormat, Precision
from tests.backends.rtx import build_typed
from tests.backends.typed_graphs import typed_graph

trt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX: pip install 'resnest-edge[rtx]'")

BLOCKS = [(0, 1), (0, 2), (1, 1), (2, 1), (2, 2), (4, 1), (4, 2)]
FLOATS = [pytest.param(each, marks=pytest.mark.slow) for each in Precision if each is not Precision.INT8]


def check_engine(typed: TypedGraph, built: BuiltEngine, out: Path) -> None:
    """The engine file stands there alone, and its layers are those that the graph was written with."""
    assert built.files == ("engine.rtx",)
    assert [path.name for path in out.iterdir()] == ["engine.rtx"]
    assert (out / "engine.rtx").stat().st_size > 10_000
    assert built.precision_run is typed.info.precision
    written = list(typed.layers.values())
    assert built.details["matrix_layers"] == {word: written.count(word) for word in sorted(set(written))}


def test_int8_with_fp16_around_it_and_a_dynamic_batch(tmp_path: Path) -> None:
    typed = typed_graph(Precision.INT8)
    built = build_typed(typed, tmp_path)
    check_engine(typed, built, tmp_path / "out")
    layers = built.details["layers"]
    assert set(built.details["matrix_layers"]) == {"int8"}
    assert layers["convolution"] == {"int8": len(typed.layers) - 1}
    assert layers["matrix_multiply"] == {"int8": 1}
    assert set(layers["activation"]) == set(layers["dequantize"]) == {"fp16"}
    assert built.details["compute_capabilities"] == []


def test_a_fixed_batch_of_floats_for_named_gpus(tmp_path: Path) -> None:
    typed = typed_graph(Precision.FP16, batch="2", input_format=InputFormat.FLOAT_NCHW)
    options = BuildOptions(("8.9", "12.0"), workspace_mib=256, optimization_level=1)
    built = build_typed(typed, tmp_path, options)
    check_engine(typed, built, tmp_path / "out")
    settings = {name: built.details[name] for name in ("compute_capabilities", "workspace_mib", "optimization_level")}
    assert settings == {"compute_capabilities": ["8.9", "12.0"], "workspace_mib": 256, "optimization_level": 1}


@pytest.mark.parametrize(
    ("batch", "input_format", "told"),
    [
        ("1:2:8", InputFormat.UINT8_NHWC, [[(1, 24, 24, 3), (2, 24, 24, 3), (8, 24, 24, 3)]]),
        ("2:4:4", InputFormat.FLOAT_NCHW, [[(2, 3, 24, 24), (4, 3, 24, 24), (4, 3, 24, 24)]]),
        ("4", InputFormat.UINT8_NHWC, []),
    ],
)
def test_the_smallest_best_and_largest_batch_reach_the_builder(
    batch: str, input_format: InputFormat, told: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: list[Any] = []

    def remember(config: Any, profile: Any, real: Any = trt.IBuilderConfig.add_optimization_profile) -> int:
        found.append([tuple(shape) for shape in profile.get_shape("images")])
        return int(real(config, profile))

    monkeypatch.setattr(trt.IBuilderConfig, "add_optimization_profile", remember)
    typed = typed_graph(Precision.INT8, batch=batch, input_format=input_format)
    build_typed(typed, tmp_path, BuildOptions(("8.9",)))
    assert found == told


@pytest.mark.parametrize(("radix", "cardinality"), BLOCKS, ids=lambda number: str(number))
@pytest.mark.parametrize("precision", [Precision.INT8, *FLOATS], ids=str)
def test_every_precision_of_every_block(precision: Precision, radix: int, cardinality: int, tmp_path: Path) -> None:
    typed = typed_graph(precision, radix, cardinality)
    check_engine(typed, build_typed(typed, tmp_path), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("form", [Form.GROUPED, Form.DENSE], ids=str)
@pytest.mark.parametrize("float_type", [Precision.FP32, Precision.FP16, Precision.BF16], ids=str)
def test_int8_of_the_other_forms_between_every_float_type(form: Form, float_type: Precision, tmp_path: Path) -> None:
    typed = typed_graph(Precision.INT8, form=form, placement=replace(PLACEMENT_INT8, float_type=float_type))
    check_engine(typed, build_typed(typed, tmp_path), tmp_path / "out")
