"""What the benchmarks of quantizers share: command line, network and pictures, a row's figures, the written files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnest_edge import environment
from resnest_edge.errors import UnavailableError
from resnest_edge.files import write_atomically
from resnest_edge.graph.model import LOGITS
from resnest_edge.images import ImageSet, iter_batches, normalise
from resnest_edge.measure.accuracy import Accuracy, compare
from resnest_edge.pipeline.answers import graph_answers
from resnest_edge.pipeline.calibrated import open_network
from resnest_edge.pipeline.pictures import Pictures, choose_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.sources import PreprocessingChoice, find_source
from resnest_edge.pipeline.typed import Network
from resnest_edge.spec import Form, Interpolation


def arguments(description: str, out: str) -> argparse.ArgumentParser:
    """The command line that these benchmarks share; each adds its own to it."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", help="a variant; the demo model if left out")
    for name in ("weights", "resize", "interpolation", "images", "eval-images"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--form", default="split")
    parser.add_argument("--calib-images", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path(out))
    return parser


def image_source(given: argparse.Namespace) -> str:
    """Where the pictures come from that calibrate."""
    return given.images or "demo:train"


def evaluation_source(given: argparse.Namespace) -> str:
    """Where the pictures come from that are measured on."""
    return given.eval_images or "demo:test"


def prepare(given: argparse.Namespace) -> tuple[Network, Pictures]:
    """Export the network that the arguments name, and choose its pictures."""
    choice = PreprocessingChoice(
        image_size=given.image_size,
        resize=given.resize,
        interpolation=None if given.interpolation is None else Interpolation(given.interpolation),
    )
    request = BuildRequest(what=given.what, weights=given.weights, choice=choice, form=Form.parse(given.form))
    source = find_source(given.what, weights=given.weights, choice=choice)
    count, classes = given.calib_images, source.num_classes
    pictures = choose_pictures(image_source(given), evaluation_source(given), classes=classes, count=count, seed=0)
    return open_network(request, source, tell), pictures


def answers_of(network: Network, graph: bytes, images: ImageSet) -> Accuracy:
    """Logits of a serialised graph, with Q/DQ computed as written."""
    return graph_answers(graph, images, network.preprocessing, progress=tell)


def openvino_answers(network: Network, graph: bytes, images: ImageSet) -> Accuracy:
    """Logits of a serialised graph in OpenVINO, float32 around its INT8 kernels: several times as fast.

    Raises:
        UnavailableError: this CPU's INT8 products overflow, so that the figures would not belong to the graph.
    """
    import openvino

    if not environment.has_safe_int8_products():
        raise UnavailableError(
            "this CPU's INT8 products overflow with 8-bit weights", hint="Run the graphs as written."
        )
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": environment.usable_cores()}
    core, side = openvino.Core(), network.preprocessing.image_size
    model = core.read_model(graph)
    model.reshape([1, 3, side, side])
    compiled = core.compile_model(model, "CPU", settings)
    logits, labels, indices = [], [], []
    for batch in iter_batches(images, network.preprocessing, 1):
        pixels = normalise(batch.images.astype(np.uint8, copy=False), network.preprocessing)
        logits.append(compiled(pixels)[compiled.output(LOGITS)])
        labels.append(batch.labels)
        indices.append(batch.indices)
        tell("measure", len(indices), len(images))
    return Accuracy(np.concatenate(logits), np.concatenate(labels), np.concatenate(indices))


RUNNERS: dict[str, Callable[[Network, bytes, ImageSet], Accuracy]] = {
    "written": answers_of,
    "openvino": openvino_answers,
}
"""How a graph is run: exactly as it writes its Q/DQ, or with one runtime's INT8 kernels."""


def figures(answers: Accuracy, reference: Accuracy) -> dict[str, Any]:
    """What every row holds: top-1, and how far the answers are from the reference's on the same images."""
    found = compare(answers, reference).to_json()
    return {
        "top1": answers.top1,
        **{key: found[key] for key in ("drop", "drop_ci95", "agreement", "logit_sqnr_db", "kl")},
    }


def drop_words(row: Mapping[str, Any]) -> str:
    """A drop with its interval, in points."""
    low, high = row["drop_ci95"]
    return f"{row['drop']:+.2f} ({low:+.2f} to {high:+.2f})"


def write(
    out: Path,
    name: str,
    about: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    text: str,
) -> None:
    """Write ``name.json`` and ``name.md`` into a folder.

    Args:
        out: the folder; made where it is missing.
        name: of both files.
        about: what the rows belong to.
        rows: one a graph.
        text: the same in Markdown.
    """
    out.mkdir(parents=True, exist_ok=True)
    value = {**about, "machine": environment.describe(), "rows": list(rows)}
    write_atomically(out / f"{name}.json", (json.dumps(value, indent=1) + "\n").encode())
    write_atomically(out / f"{name}.md", text.encode())


def table(columns: Sequence[str], lines: Iterable[str]) -> str:
    """A Markdown table of finished lines."""
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(f"{line}\n" for line in lines)


def tell(stage: str, done: int, total: int | None) -> None:
    """Progress on stderr, where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r{stage} {done}/{total or '?'}  ", end="", file=sys.stderr)
