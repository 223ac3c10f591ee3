"""Scales as `build` learns them: each switch does what it says on a real network, the same bits every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from resnest_edge.calibration.collect import Statistics
from resnest_edge.calibration.deltas import pack_deltas
from resnest_edge.calibration.observers import HistogramObserver
from resnest_edge.calibration.ranges import AUTO, METHODS
from resnest_edge.calibration.scales import Scales, TensorRange
from resnest_edge.demo.scenes import DemoImages
from resnest_edge.errors import ScalesError, UsageError
from resnest_edge.graph.model import digest, observing, to_bytes
from resnest_edge.grid import Grid
from resnest_edge.images import ImageSet, Subset
from resnest_edge.pipeline import automatic, layerwise, typed
from resnest_edge.pipeline.automatic import choose_ranges
from resnest_edge.pipeline.learning import Learning, learn
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.progress import silent
from resnest_edge.pipeline.typed import Network, calibrate, few_batches, write_typed
from resnest_edge.quantize.insertion import quantize_graph
from resnest_edge.quantize.layer_errors import error_graph
from resnest_edge.quantize.placement import ELEMENTWISE, Placement
from resnest_edge.spec import BatchRange, Form, InputFormat, Precision, Preprocessing, QdqStyle, ResizeMode
from tests.support.onnx_run import run_ort
from tests.support.tiny import CLASSES, IMAGE_SIZE, KINDS, tiny_core

PLACEMENTS = {
    "cpu": Placement(QdqStyle.CPU),
    "portable": Placement(QdqStyle.PORTABLE),
    "7 bits": Placement(QdqStyle.CPU, weight_bits=7),
    "onnxruntime": Placement(QdqStyle.CPU, outputs=True, elementwise=ELEMENTWISE),
    "fp16": Placement(QdqStyle.PORTABLE, float_type=Precision.FP16),
    "bf16": Placement(QdqStyle.CPU, float_type=Precision.BF16),
}
PREPROCESSING = Preprocessing(IMAGE_SIZE, IMAGE_SIZE, mode=ResizeMode.SQUASH)
COUNT = 24


def images() -> ImageSet:
    return Subset(DemoImages("train", 2000), range(COUNT))


@cache
def network(kind: str) -> Network:
    core = tiny_core(**KINDS[kind]).core
    return Network(kind, core, PREPROCESSING, CLASSES, BatchRange(1, 2, 8), Form.SPLIT, InputFormat.UINT8_NHWC)


@cache
def statistics(kind: str) -> Statistics:
    found, skipped = calibrate(network(kind), list(PLACEMENTS.values()), images(), skip_bad=False, progress=silent)
    assert not skipped
    return found


def learned(kind: str, placement: Placement, how: Learning) -> Scales:
    return learn(network(kind), statistics(kind), placement, images(), how, skip_bad=False, progress=silent)


@cache
def inputs() -> np.ndarray:
    return np.concatenate([batch for batch, _, _ in few_batches(network("split"), images(), COUNT, skip_bad=False)])


def error_variance(kind: str, scales: Scales, placement: Placement) -> dict[str, float]:
    """Of each layer beside its float twin, over all positions of all images, by ONNX Runtime unoptimised."""
    core = network(kind).core
    quantized = quantize_graph(core, scales, replace(placement, float_type=Precision.FP32))
    model, layers = error_graph(core, quantized, squares=True)
    found = run_ort(model, inputs(), [value.name or "" for value in model.graph.outputs])
    means, squares = found[: len(layers)], found[len(layers) :]
    return {
        layer: float((square.mean(0) - np.square(mean.mean(0))).sum())
        for layer, mean, square in zip(layers, means, squares, strict=True)
    }


@pytest.mark.parametrize("name", PLACEMENTS)
def test_rounded_weights_make_layers_err_less(name: str) -> None:
    placement = PLACEMENTS[name]
    plain, rounded = (learned("split", placement, Learning("mse", False, rounds)) for rounds in (False, True))
    before, after = (error_variance("split", scales, placement) for scales in (plain, rounded))
    ratios = [after[layer] / before[layer] for layer in before]
    assert len(ratios) > 10 and np.median(ratios) < 1.0
    assert rounded.float_type is placement.float_type and rounded.weight_bits == placement.weight_bits


def test_tensors_observed_in_parts_have_the_same_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(typed, "_OBSERVED_BYTES", 1 << 15)
    found, _ = calibrate(
        network("split"),
        list(PLACEMENTS.values()),
        images(),
        skip_bad=False,
        progress=lambda name, _done, _total: told.append(name),
    )
    parts = len(set(told))
    assert parts > 1 and told[-1] == f"calibrate, part {parts} of {parts}"
    whole = statistics("split")
    assert (found.images, found.images_digest) == (COUNT, whole.images_digest)
    assert list(found.observers) == list(whole.observers)
    for name, seen in whole.observers.items():
        # asked for other tensors, ONNX Runtime fuses differently, and the last bits differ
        np.testing.assert_allclose(
            [found.observers[name].minimum, found.observers[name].maximum], [seen.minimum, seen.maximum], rtol=1e-4
        )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_block_can_be_rounded_and_stays_within_its_bits(kind: str) -> None:
    scales = learned(kind, PLACEMENTS["7 bits"], Learning(round_weights=True))
    assert scales.corrections and any(np.any(scales.deltas(name)) for name in scales.rounding)
    model = quantize_graph(network(kind).core, scales, PLACEMENTS["7 bits"])
    stored = [value(model, name) for name in model.graph.initializers if name.endswith(".q")]
    assert len(stored) == len(scales.rounding) and max(np.abs(values.astype(int)).max() for values in stored) <= 64


def test_the_same_images_give_the_same_bits_and_parts_change_none(monkeypatch: pytest.MonkeyPatch) -> None:
    how = Learning(AUTO, round_weights=True, weight_scales="mse")
    first = learned("radix 4", PLACEMENTS["portable"], how)
    assert learned("radix 4", PLACEMENTS["portable"], how) == first
    monkeypatch.setattr(layerwise, "_BUDGET", 1)  # a pass for each layer's inputs
    again = learned("radix 4", PLACEMENTS["portable"], how)
    assert again.rounding == first.rounding


def test_biases_alone_are_learned_from_no_more_tensors_at_once_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    how = Learning(bias_correction=True, round_weights=False)
    whole = learned("split", PLACEMENTS["cpu"], how).corrections
    passes: list[Sequence[str]] = []

    def noted(core: ir.Model, tensors: Sequence[str]) -> tuple[bytes, list[str]]:
        passes.append(tensors)
        return observing(core, tensors)

    monkeypatch.setattr(layerwise, "observing", noted)
    monkeypatch.setattr(layerwise, "_BUDGET", 1)
    parts = learned("split", PLACEMENTS["cpu"], how).corrections
    assert len(passes) > 1 and {len(tensors) for tensors in passes} == {1}
    assert parts.keys() == whole.keys()
    for layer, shift in whole.items():
        np.testing.assert_allclose(parts[layer], shift, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["portable", "fp16", "bf16"])
def test_saved_scales_write_the_same_graph(name: str, tmp_path: Path) -> None:
    placement = PLACEMENTS[name]
    scales = learned("split", placement, Learning(round_weights=True, weight_scales="mse"))
    scales.save(tmp_path / "scales.json")
    again = Scales.load(tmp_path / "scales.json")
    typed = [write_typed(network("split"), Precision.INT8, placement, each).model for each in (scales, again)]
    assert digest(typed[0]) == digest(typed[1])
    rounded = quantize_graph(network("split").core, scales, placement)
    plain = quantize_graph(network("split").core, replace(scales, rounding={}), placement)
    assert to_bytes(rounded) != to_bytes(plain)


def test_the_probe_in_fp32_holds_the_integers_and_scales_of_the_typed_graph() -> None:
    """BF16's scales are up to 0.8 % above FP32's: integers rounded between them mean nothing between others."""
    placement = PLACEMENTS["bf16"]
    scales = learned("split", placement, Learning(round_weights=True))
    core = network("split").core
    typed, probed = (
        quantize_graph(core, scales, replace(placement, float_type=f)) for f in (Precision.BF16, Precision.FP32)
    )
    names = [
        name for name in typed.graph.initializers if name.startswith("fc") and name.endswith((".q", "weight.scale"))
    ]
    assert len(names) == 2
    for name in names:
        first, second = (value(model, name) for model in (typed, probed))
        np.testing.assert_array_equal(first.astype(np.float32), second.astype(np.float32))


def test_layers_kept_in_float_keep_their_weights() -> None:
    placement = PLACEMENTS["portable"]
    scales = learned("split", placement, Learning(round_weights=True))
    kept = replace(placement, keep_float=frozenset({"fc"}))
    core = network("split").core
    node = next(node for node in core.graph if node.name == "fc")
    name = node.inputs[1].name or "" if node.inputs[1] is not None else ""
    model = quantize_graph(core, scales, kept)
    np.testing.assert_array_equal(value(model, name), value(core, name))
    assert f"{name}.q" not in model.graph.initializers and name in scales.rounding


def value(model: ir.Model, name: str) -> np.ndarray:
    constant = model.graph.initializers[name].const_value
    assert constant is not None
    return np.asarray(constant.numpy())


@pytest.mark.parametrize(("change", "message"), [("size", "its rounding"), ("beyond", "rounded beyond 8 bits")])
def test_rounding_that_does_not_fit_is_refused(change: str, message: str) -> None:
    scales = learned("split", PLACEMENTS["portable"], Learning(round_weights=True))
    name = next(iter(scales.rounding))
    deltas = scales.deltas(name)
    assert deltas is not None
    wrong = deltas[:-1] if change == "size" else np.full_like(deltas, 127)
    damaged = replace(scales, rounding={**scales.rounding, name: pack_deltas(wrong)})
    with pytest.raises(ScalesError, match=rf"{name} .*{message}"):
        quantize_graph(network("split").core, damaged, PLACEMENTS["portable"])


def test_auto_errs_no_more_than_any_single_method() -> None:
    placement = Placement(QdqStyle.PORTABLE, shortcuts=False)  # so that only layers read what is quantized
    errors = {
        method: error_variance("split", learned("split", placement, Learning(method, False)), placement)
        for method in (*METHODS, AUTO)
    }
    totals = {method: sum(found[layer] / errors["mse"][layer] for layer in found) for method, found in errors.items()}
    # ONNX Runtime sums in another order when it fuses
    assert totals[AUTO] <= min(totals[method] for method in METHODS) * (1 + 1e-3)
    assert totals[AUTO] < totals["mse"]


def test_auto_takes_the_range_of_one_of_the_methods() -> None:
    placement = PLACEMENTS["onnxruntime"]
    found = choose_ranges(network("split"), statistics("split"), placement, images(), skip_bad=False, progress=silent)
    single = [statistics("split").scales(method, placement.style).ranges for method in METHODS]
    assert found.method == AUTO and found.ranges.keys() == single[0].keys()
    assert all(span in [ranges[tensor] for ranges in single] for tensor, span in found.ranges.items())


def test_a_tensor_that_no_layer_reads_is_judged_by_its_own_error() -> None:
    values = np.append(np.random.default_rng(0).uniform(-1, 1, 10_000), 30.0).astype(np.float32)
    seen = HistogramObserver("x")
    seen.update(values)
    kept = {
        "max": TensorRange(-1, 30, -1, 30),
        "percentile": TensorRange(-1, 30, -1, 1),
        "entropy": TensorRange(-1, 30, -1, 2),
        "mse": TensorRange(-1, 30, -1, 20),
    }
    wide = values.astype(np.float64)
    errors = {
        method: np.square(Grid.covering(span.low, span.high, QdqStyle.CPU).round_trip(wide) - wide).sum()
        for method, span in kept.items()
    }
    found = automatic._least(kept, seen, [None], {method: {} for method in kept}, QdqStyle.CPU)
    assert found == min(errors, key=lambda method: errors[method]) != "mse"


def test_where_methods_err_alike_mse_stands() -> None:
    kept = dict.fromkeys(METHODS, TensorRange(0, 1, 0, 1))
    seen = HistogramObserver("x")
    seen.update(np.linspace(0, 1, 9, dtype=np.float32))
    layers = {method: {"conv": 0.0} for method in METHODS}
    assert automatic._least(kept, seen, ["conv", None], layers, QdqStyle.PORTABLE) == "mse"


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(UsageError, match=r"best.*auto"):
        learned("split", PLACEMENTS["cpu"], Learning("best"))
    with pytest.raises(UsageError, match=r"'min'.*max, mse"):
        BuildRequest(weight_scales="min")
