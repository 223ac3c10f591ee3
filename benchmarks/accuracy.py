"""INT8 by others and by us: the same FP32 graph, the same images, and Q/DQ computed exactly as each graph writes it.

    python -m benchmarks.accuracy                                     # the demo model on its own scenes
    python -m benchmarks.accuracy resnest50 --weights W --image-size 160 --resize squash --interpolation bicubic \
        --images train/ --eval-images val/ --out reports/accuracy/resnest50

Everybody quantizes our exported graph (the split form), so that quantizers are compared, not exporters. Top-1 on a few
thousand images cannot tell small differences: compare the signal-to-noise ratio of the logits, whose difference to ours
is given with its paired 95 % interval. A quantizer that is not installed, or fails, is a row with the reason.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from benchmarks.ablation import Row, answers_of, arguments, prepare, tell
from resnest_edge import environment
from resnest_edge.files import write_atomically
from resnest_edge.graph.model import INPUT, save_graph, to_bytes
from resnest_edge.images import ImageSet, iter_batches, normalise
from resnest_edge.measure.accuracy import Accuracy, compare
from resnest_edge.measure.statistics import paired_sqnr_gain
from resnest_edge.pipeline.pictures import spread
from resnest_edge.pipeline.typed import Network, calibrate, correct_biases
from resnest_edge.quantize.bias import shift_biases
from resnest_edge.quantize.insertion import quantize_graph

_HISTOGRAM_IMAGES = 32  # ONNX Runtime's entropy and percentile calibrators keep every activation in memory
Quantizer = Callable[[Network, ImageSet], bytes]


@dataclass(frozen=True)
class Candidate:
    """One quantizer.

    Attributes:
        name: for the table.
        style: ``cpu`` (unsigned after a ReLU) or ``portable`` (signed, zero point 0: what TensorRT takes).
        images: how many it calibrates on; None means all.
        quantize: FP32 core and calibration images to a serialised Q/DQ graph.
    """

    name: str
    style: str
    images: int | None
    quantize: Quantizer


def candidates() -> Iterator[Candidate]:
    """Ours first: each style's own is what the others of that style are compared with."""
    for style in ("cpu", "portable"):
        yield Candidate("resnest-edge", style, None, _ours(style))
        for method, count in (("MinMax", None), ("Percentile", _HISTOGRAM_IMAGES), ("Entropy", _HISTOGRAM_IMAGES)):
            yield Candidate(f"ONNX Runtime static, {method}", style, count, _onnxruntime(style, method))
    for preset in ("MIXED", "PERFORMANCE"):
        yield Candidate(f"NNCF, {preset}", "cpu" if preset == "MIXED" else "portable", None, _nncf(preset))


def main() -> None:
    """Quantize with everybody, measure, print and write the table."""
    given = arguments(__doc__ or "", "reports/accuracy/demo")
    network, pictures = prepare(given)
    assert pictures.calibration is not None and pictures.evaluation is not None
    reference = answers_of(network, to_bytes(network.core), pictures.evaluation)
    rows: list[dict[str, Any]] = []
    ours: dict[str, Accuracy] = {}
    for candidate in candidates():
        images = pictures.calibration if candidate.images is None else spread(pictures.calibration, candidate.images)
        row: dict[str, Any] = {"quantizer": candidate.name, "style": candidate.style, "images": len(images)}
        started = perf_counter()
        try:
            graph = candidate.quantize(network, images)
        except Exception as exc:  # noqa: BLE001 - somebody else's program: its failure is its row
            rows.append(
                {**row, "reason": f"{type(exc).__name__}: {str(exc).splitlines()[0] if str(exc) else ''}"[:200]}
            )
            print(_line(rows[-1]), flush=True)
            continue
        row["seconds"] = round(perf_counter() - started, 1)
        found = answers_of(network, graph, pictures.evaluation)
        ours.setdefault(candidate.style, found)
        rows.append({**row, **_measured(found, reference, ours[candidate.style])})
        print(_line(rows[-1]), flush=True)
    _write(Path(given.out), network, given, rows, reference)


def _measured(found: Accuracy, reference: Accuracy, ours: Accuracy) -> dict[str, Any]:
    against = compare(found, reference).to_json()
    gain = None if found is ours else paired_sqnr_gain(reference.logits, ours.logits, found.logits)
    return {
        "top1": found.top1,
        **{key: against[key] for key in ("drop", "drop_ci95", "agreement", "logit_sqnr_db", "kl")},
        "ours_better_db": None if gain is None else gain[0],
        "ours_better_db_ci95": None if gain is None else list(gain[1]),
    }


def _ours(style: str) -> Quantizer:
    def quantize(network: Network, images: ImageSet) -> bytes:
        placement = Row(style, "mse", 8, True).placement
        statistics, _ = calibrate(network, [placement], images, skip_bad=False, progress=tell)
        scales = statistics.scales("mse", placement.style)
        scales = correct_biases(network, scales, placement, images, skip_bad=False, progress=tell)
        return to_bytes(quantize_graph(shift_biases(network.core, scales.corrections), scales, placement))

    return quantize


def _onnxruntime(style: str, method: str) -> Quantizer:
    def quantize(network: Network, images: ImageSet) -> bytes:
        from onnxruntime.quantization import (
            CalibrationDataReader,
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )

        class Reader(CalibrationDataReader):  # type: ignore[misc]  # the library ships no types
            def __init__(self) -> None:
                self._left = _inputs(network, images)

            def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
                return next(self._left, None)

        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
            save_graph(network.core, source)
            quantize_static(
                str(source),
                str(out),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8 if style == "cpu" else QuantType.QInt8,
                calibrate_method=getattr(CalibrationMethod, method),
                extra_options={} if style == "cpu" else {"ActivationSymmetric": True},
            )
            return out.read_bytes()

    return quantize


def _nncf(preset: str) -> Quantizer:
    def quantize(network: Network, images: ImageSet) -> bytes:
        import nncf
        import onnx

        model: onnx.ModelProto = ir.to_proto(network.core)
        dataset = nncf.Dataset(list(_inputs(network, images)))
        chosen = getattr(nncf.QuantizationPreset, preset)
        result = nncf.quantize(model, dataset, preset=chosen, subset_size=len(images))
        data: bytes = result.SerializeToString()
        return data

    return quantize


def _inputs(network: Network, images: ImageSet) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    for batch in iter_batches(images, network.preprocessing, 1):
        yield {INPUT: normalise(batch.images.astype(np.uint8, copy=False), network.preprocessing)}


def _line(row: dict[str, Any]) -> str:
    name = f"| {row['quantizer']} | {row['style']} | {row['images']} |"
    if "reason" in row:
        return f"{name} {row['reason']} | | | | | | |"
    low, high = row["drop_ci95"]
    better = row["ours_better_db"]
    bounds = row["ours_better_db_ci95"]
    gain = "–" if better is None else f"{better:+.1f} ({bounds[0]:+.1f} to {bounds[1]:+.1f})"
    return (
        f"{name} {row['logit_sqnr_db']:.1f} | {gain} | {row['kl']:.1e} | {row['agreement']:.2f} | {row['top1']:.2f} | "
        f"{row['drop']:+.2f} ({low:+.2f} to {high:+.2f}) | {row['seconds']:.0f} |"
    )


def _write(
    out: Path, network: Network, given: argparse.Namespace, rows: list[dict[str, Any]], reference: Accuracy
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    value = {
        "model": network.name,
        "form": given.form,
        "evaluated_images": reference.images,
        "fp32_top1": reference.top1,
        "machine": environment.describe(),
        "rows": rows,
    }
    write_atomically(out / "accuracy.json", (json.dumps(value, indent=1) + "\n").encode())
    head = (
        f"# {network.name}: INT8 by others and by us\n\n"
        f"{reference.images} images, FP32 top-1 {reference.top1:.2f} %. All quantize the same FP32 graph; Q/DQ is "
        "computed as each graph writes it, in float32, with 8-bit weights. Which layers are quantized is each "
        "quantizer's own choice.\n\n"
        "| quantizer | style | images | logit SQNR, dB | ours is better by, dB (95 %) | KL, nats | agreement, % "
        "| top-1, % | drop, points (95 %) | s |\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    write_atomically(out / "accuracy.md", (head + "\n".join(_line(row) for row in rows) + "\n").encode())


if __name__ == "__main__":
    main()
