"""What fine-tuning gives back to networks that were harmed on purpose, by weights of few bits.

    python -m benchmarks.finetune                                       # the small networks of tests/data, 4 and 3 bits

The networks are small and trained on the demo's scenes, so this takes minutes. Recovered is the share that fine-tuning
takes back, of the drop and of the answers that quantization changed; both are measured on the graph run as written, on
scenes that neither training nor calibration saw. Each row is trained in one thread of a process of its own, several
rows at once on several cores.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.quantizer_report import drop_words, table, tell, write
from resnest_edge import environment
from resnest_edge.calibration.scales import Scales
from resnest_edge.demo.model import demo_preprocessing
from resnest_edge.images import ImageSet, sample
from resnest_edge.models.checkpoint import read_checkpoint
from resnest_edge.pipeline.core import export_core
from resnest_edge.pipeline.layerwise import Layerwise
from resnest_edge.pipeline.pictures import open_pictures
from resnest_edge.pipeline.typed import Network, calibrate
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import BatchRange, Form, InputFormat, QdqStyle
from resnest_edge.training.finetune import Quantized, measure, run
from resnest_edge.training.train import Recipe

DATA = Path(__file__).resolve().parent.parent / "tests" / "data"
NAMES = ("resnest-cardinality2", "resnest-radix4", "resnest-radix1")
_CALIBRATION = 256
_COLUMNS = (
    "network",
    "weight bits",
    "FP32 top-1, %",
    "calibrated",
    "fine-tuned",
    "drop calibrated, points (95 %)",
    "drop fine-tuned",
    "of the drop recovered",
    "agreement calibrated, %",
    "fine-tuned",
    "of the changed answers recovered",
)


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
    layerwise = Layerwise(whole, scales, placement, drawn, skip_bad=False, progress=tell)
    scales = layerwise.learn(round_weights=False, correct_biases=True)
    return Quantized(network, core, scales, placement, preprocessing)


def main() -> None:
    """Harm, train, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="append", choices=NAMES, help="all if left out")
    parser.add_argument("--bits", type=int, action="append", choices=range(2, 8))
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--jobs", type=int, default=environment.usable_cores(), help="rows at once")
    parser.add_argument("--out", type=Path, default=Path("reports/finetune"))
    given = parser.parse_args()
    recipe = Recipe(given.epochs, given.rate)
    wanted = [(name, bits) for bits in given.bits or (4, 3) for name in given.network or NAMES]
    context = get_context("spawn")  # a fork of a process in which a runtime has threads may hang
    with ProcessPoolExecutor(given.jobs, context, initializer=_alone) as pool:
        rows = []
        for row in pool.map(partial(_row, recipe=recipe), *zip(*wanted, strict=True)):
            rows.append(row)
            print(_line(row), flush=True)
    about = {"recipe": asdict(recipe), "calibration_images": _CALIBRATION, "torch": str(torch.__version__)}
    write(given.out, "finetune", about, rows, _render(recipe, rows))


def _alone() -> None:
    """Train in one thread: on networks this small, handing out work costs more than the work."""
    torch.set_num_threads(1)


def _row(name: str, bits: int, recipe: Recipe) -> dict[str, Any]:
    images, scenes = open_pictures("demo:train", 10), open_pictures("demo:test", 10)
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
    return (
        f"| {row['network']} | {row['weight_bits']} | {row['fp32_top1']:.2f} | {before['top1']:.2f} | "
        f"{after['top1']:.2f} | {drop_words(before)} | {drop_words(after)} | "
        f"{recovered(before['drop'], after['drop'])} | {before['agreement']:.1f} | {after['agreement']:.1f} | "
        f"{recovered(100 - before['agreement'], 100 - after['agreement'])} |"
    )


def recovered(before: float, after: float) -> str:
    """The share of a loss that is gone, in words; none where nothing was lost."""
    return "–" if before <= 0 else f"{100 * (1 - after / before):.0f} %"


def _render(recipe: Recipe, rows: list[dict[str, Any]]) -> str:
    return (
        "# Fine-tuning networks that were harmed on purpose\n\n"
        f"{recipe.epochs} epochs on 2,000 scenes, rate {recipe.rate:g}, batches of {recipe.batch}; measured on 1,200 "
        "others, the graph run as written, signed activations. Agreement is with the float network that fine-tuning "
        "began with.\n\n" + table(_COLUMNS, map(_line, rows))
    )


if __name__ == "__main__":
    main()
