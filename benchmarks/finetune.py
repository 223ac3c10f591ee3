"""What fine-tuning gives back to networks that were harmed on purpose, by weights of few bits.

    python -m benchmarks.finetune                                       # the small networks of tests/data, 4 and 3 bits

The networks are small and trained on the demo's scenes, so this takes minutes. Recovered is the share of the drop,
or of the logits' error energy, that fine-tuning takes back; both are measured on the graph run as written, on scenes
that neither training nor calibration saw.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.quantizer_report import tell
from resnest_edge import environment
from resnest_edge.calibration.scales import Scales
from resnest_edge.demo.model import demo_preprocessing
from resnest_edge.files import write_atomically
from resnest_edge.images import ImageSet, sample
from resnest_edge.models.checkpoint import read_checkpoint
from resnest_edge.pipeline.core import export_core
from resnest_edge.pipeline.pictures import open_pictures
from resnest_edge.pipeline.typed import Network, calibrate, correct_biases
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import BatchRange, Form, InputFormat, QdqStyle
from resnest_edge.training.finetune import Quantized, measure, run
from resnest_edge.training.train import Recipe

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
NAMES = ("resnest-cardinality2", "resnest-radix4", "resnest-radix1")
_CALIBRATION = 256


def harmed(name: str, bits: int, images: ImageSet) -> Quantized:
    """One of the small networks, calibrated for weights of few bits."""
    checkpoint = read_checkpoint(DATA / f"{name}.safetensors")
    network = checkpoint.network(checkpoint.shape())
    preprocessing = demo_preprocessing()
    core = export_core(network, Form.SPLIT, preprocessing.image_size)
    whole = Network(name, core, preprocessing, 10, BatchRange(1, 1, 64), Form.SPLIT, InputFormat.UINT8_NHWC)
    placement = Placement(QdqStyle.PORTABLE, weight_bits=bits)
    drawn = sample(images, _CALIBRATION, 0)
    statistics, _ = calibrate(whole, [placement], drawn, skip_bad=False, progress=tell)
    scales: Scales = statistics.scales("mse", placement.style)
    scales = correct_biases(whole, scales, placement, drawn, skip_bad=False, progress=tell)
    return Quantized(network, core, scales, placement, preprocessing)


def main() -> None:
    """Harm, train, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, action="append", choices=range(2, 8))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--out", type=Path, default=Path("reports/finetune"))
    given = parser.parse_args()
    images, scenes = open_pictures("demo:train", 10), open_pictures("demo:test", 10)
    recipe = Recipe(given.epochs, given.rate)
    rows = []
    for name in NAMES:
        for bits in given.bits or (4, 3):
            rows.append(_row(name, bits, recipe, images, scenes))
            print(_line(rows[-1]), flush=True)
    _write(given.out, recipe, rows)


def _row(name: str, bits: int, recipe: Recipe, images: ImageSet, scenes: ImageSet) -> dict[str, Any]:
    before = harmed(name, bits, images)
    started = perf_counter()
    student = before.trainable()
    _, losses = run(student, before, images, recipe, None, tell)
    seconds = perf_counter() - started
    after = before.with_weights(student.folded())
    measured = measure(before, after, scenes, tell)
    return {"network": name, "weight_bits": bits, "losses": losses, "seconds": round(seconds, 1), **measured}


def _line(row: dict[str, Any]) -> str:
    before, after = row["before"], row["after"]
    kept = after["drop"] / before["drop"] if before["drop"] > 0 else None
    recovered = "–" if kept is None else f"{100 * (1 - kept):.0f} %"
    return (
        f"| {row['network']} | {row['weight_bits']} | {row['fp32_top1']:.2f} | {before['top1']:.2f} | "
        f"{after['top1']:.2f} | {recovered} | {before['agreement']:.1f} | {after['agreement']:.1f} | "
        f"{before['logit_sqnr_db']:.1f} | {after['logit_sqnr_db']:.1f} | {row['seconds']:.0f} |"
    )


def _write(out: Path, recipe: Recipe, rows: list[dict[str, Any]]) -> None:
    value = {
        "recipe": asdict(recipe),
        "calibration_images": _CALIBRATION,
        "torch": str(torch.__version__),
        "machine": environment.describe(),
        "rows": rows,
    }
    head = (
        "# Fine-tuning networks that were harmed on purpose\n\n"
        f"{recipe.epochs} epochs on 2,000 scenes, rate {recipe.rate:g}, batches of {recipe.batch}; measured on 1,200 "
        "others, the graph run as written, signed activations.\n\n"
        "| network | weight bits | FP32 top-1, % | calibrated | fine-tuned | of the drop recovered | agreement, % "
        "| fine-tuned | logit SQNR, dB | fine-tuned | s |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
    )
    write_atomically(out / "finetune.json", (json.dumps(value, indent=1) + "\n").encode())
    write_atomically(out / "finetune.md", (head + "\n".join(map(_line, rows)) + "\n").encode())


if __name__ == "__main__":
    main()
