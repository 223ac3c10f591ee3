"""What each of our quantization methods is worth: one row a switch, same network, same images.

    python -m benchmarks.ablation                                       # the demo model on its own scenes
    python -m benchmarks.ablation resnest50 --weights W --image-size 160 --resize squash --interpolation bicubic \
        --images train/ --eval-images val/ --out reports/ablation/resnest50

Q/DQ is computed in float32 exactly as each graph writes it (ONNX Runtime, no INT8 kernels), so that the figures belong
to the graphs: 8-bit weights count as 8 bits on a CPU whose own kernels overflow with them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnest_edge import environment
from resnest_edge.calibration.ranges import METHODS
from resnest_edge.files import write_atomically
from resnest_edge.graph.model import to_bytes
from resnest_edge.images import ImageSet
from resnest_edge.measure.accuracy import Accuracy, compare
from resnest_edge.pipeline.answers import graph_answers
from resnest_edge.pipeline.calibrated import open_network
from resnest_edge.pipeline.pictures import Pictures, choose_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.sources import PreprocessingChoice, find_source
from resnest_edge.pipeline.typed import Network, calibrate, correct_biases
from resnest_edge.quantize.bias import shift_biases
from resnest_edge.quantize.insertion import quantize_graph
from resnest_edge.quantize.placement import ELEMENTWISE, Placement
from resnest_edge.spec import Form, Interpolation, QdqStyle


@dataclass(frozen=True)
class Row:
    """One graph to measure."""

    placed: str
    method: str
    bits: int
    corrected: bool

    @property
    def placement(self) -> Placement:
        """Where its Q/DQ stands."""
        if self.placed == "onnxruntime":
            return Placement(QdqStyle.CPU, weight_bits=self.bits, outputs=True, elementwise=ELEMENTWISE)
        return Placement(QdqStyle(self.placed), weight_bits=self.bits)


def rows() -> Iterator[Row]:
    """Each method in each style with correction; each switch turned off, and 7-bit weights, for the default method."""
    for style in ("cpu", "portable"):
        for method in METHODS:
            yield Row(style, method, 8, True)
        yield Row(style, "mse", 8, False)
        yield Row(style, "mse", 7, True)
        yield Row(style, "mse", 7, False)
    yield Row("onnxruntime", "mse", 8, True)
    yield Row("onnxruntime", "mse", 8, False)


def main() -> None:
    """Measure every row, print the table, write JSON and Markdown."""
    given = arguments(__doc__ or "", "reports/ablation/demo")
    network, pictures = prepare(given)
    assert pictures.calibration is not None and pictures.evaluation is not None
    placements = [row.placement for row in rows()]
    statistics, _ = calibrate(network, placements, pictures.calibration, skip_bad=False, progress=tell)
    reference = answers_of(network, to_bytes(network.core), pictures.evaluation)
    measured = []
    for row in rows():
        scales = statistics.scales(row.method, row.placement.style)
        if row.corrected:
            scales = correct_biases(network, scales, row.placement, pictures.calibration, skip_bad=False, progress=tell)
        graph = quantize_graph(shift_biases(network.core, scales.corrections), scales, row.placement)
        answers = answers_of(network, to_bytes(graph), pictures.evaluation)
        measured.append(_entry(row, answers, reference))
        print(_line(measured[-1]), flush=True)
    _write(Path(given.out), network.name, given, measured, reference)


def prepare(given: argparse.Namespace) -> tuple[Network, Pictures]:
    """Export the network that the arguments name, and choose its pictures."""
    choice = PreprocessingChoice(
        image_size=given.image_size,
        resize=given.resize,
        interpolation=None if given.interpolation is None else Interpolation(given.interpolation),
    )
    request = BuildRequest(what=given.what, weights=given.weights, choice=choice, form=Form(given.form))
    source = find_source(given.what, weights=given.weights, choice=choice)
    images, evaluation = (given.images or "demo:train", given.eval_images or "demo:test")
    pictures = choose_pictures(images, evaluation, classes=source.num_classes, count=given.calib_images, seed=0)
    return open_network(request, source, tell), pictures


def arguments(description: str, out: str) -> argparse.Namespace:
    """The command line that these benchmarks share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?")
    for name in ("weights", "resize", "interpolation", "images", "eval-images"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--form", default="split")
    parser.add_argument("--calib-images", type=int, default=512)
    parser.add_argument("--out", default=out)
    return parser.parse_args()


def answers_of(network: Network, graph: bytes, images: ImageSet) -> Accuracy:
    """Logits of a serialised graph, with Q/DQ computed as written."""
    return graph_answers(graph, images, network.preprocessing)


def _entry(row: Row, answers: Accuracy, reference: Accuracy) -> dict[str, Any]:
    found = compare(answers, reference).to_json()
    return {
        "placement": row.placed,
        "method": row.method,
        "weight_bits": row.bits,
        "bias_correction": row.corrected,
        "top1": answers.top1,
        **{key: found[key] for key in ("drop", "drop_ci95", "agreement", "logit_sqnr_db", "kl")},
    }


def _line(entry: dict[str, Any]) -> str:
    low, high = entry["drop_ci95"]
    return (
        f"| {entry['placement']} | {entry['method']} | {entry['weight_bits']} | "
        f"{'yes' if entry['bias_correction'] else 'no'} | {entry['logit_sqnr_db']:.1f} | {entry['agreement']:.2f} | "
        f"{entry['kl']:.1e} | {entry['top1']:.2f} | {entry['drop']:+.2f} ({low:+.2f} to {high:+.2f}) |"
    )


def _write(
    out: Path,
    name: str,
    given: argparse.Namespace,
    measured: list[dict[str, Any]],
    reference: Accuracy,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    value = {
        "model": name,
        "form": given.form,
        "calibration_images": given.calib_images,
        "evaluated_images": reference.images,
        "fp32_top1": reference.top1,
        "machine": environment.describe(),
        "rows": measured,
    }
    write_atomically(out / "ablation.json", (json.dumps(value, indent=1) + "\n").encode())
    head = (
        f"# {name}: what each method is worth\n\n"
        f"{reference.images} images, FP32 top-1 {reference.top1:.2f} %; calibrated on {given.calib_images} images. "
        "Q/DQ computed as the graph writes it, in float32.\n\n"
        "| placement | method | weight bits | bias correction | logit SQNR, dB | agreement, % | KL, nats | top-1, % "
        "| drop, points (95 % interval) |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    text = head + "\n".join(_line(entry) for entry in measured) + "\n"
    write_atomically(out / "ablation.md", text.encode())
    print(text)


def tell(stage: str, done: int, total: int | None) -> None:
    """Progress on stderr, where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r{stage} {done}/{total or '?'}  ", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
