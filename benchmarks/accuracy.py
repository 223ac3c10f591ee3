"""INT8 by others and by us: the same FP32 graph, the same images, and Q/DQ computed exactly as each graph writes it.

    python -m benchmarks.accuracy                                     # the demo model on its own scenes
    python -m benchmarks.accuracy resnest50 --weights W --image-size 160 --resize squash --interpolation bicubic \
        --images train/ --eval-images val/ --work scratch/ --out reports/accuracy/resnest50

Everybody quantizes our exported graph (the split form), so that quantizers are compared, not exporters. Top-1 on a few
thousand images cannot tell small differences: compare the signal-to-noise ratio of the logits and the Kullback-Leibler
divergence, whose differences to ours are given with their paired 95 % intervals. Each quantizer has a process of its
own, which is ended beyond the limits; one that is not installed, or fails, is a row with the reason. With --work an
interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from benchmarks.quantizer_process import ABOUT, CALIBRATION, CORE, VALIDATION, Limits, result_path, run_apart
from benchmarks.quantizer_report import answers_of, arguments, drop_words, figures, image_source, prepare, table, write
from benchmarks.quantizers import Candidate, candidates
from resnest_edge.errors import UsageError
from resnest_edge.files import sha256_file, write_atomically
from resnest_edge.graph.model import digest, save_graph, to_bytes, weighted_nodes
from resnest_edge.images import ImageSet, exclude, sample, write_list
from resnest_edge.measure.accuracy import Accuracy
from resnest_edge.measure.statistics import paired_kl_gain, paired_sqnr_gain
from resnest_edge.pipeline.pictures import Pictures, open_pictures
from resnest_edge.pipeline.typed import Network
from resnest_edge.quantize.insertion import quantized_layers
from resnest_edge.quantize.placement import WEIGHTED

_COLUMNS = (
    "quantizer",
    "style",
    "INT8 layers",
    "images",
    "logit SQNR, dB",
    "ours better by, dB (95 %)",
    "KL, nats",
    "theirs more by, nats (95 %)",
    "agreement, %",
    "top-1, %",
    "drop, points (95 %)",
    "CPU s",
    "peak MiB",
)


@dataclass(frozen=True)
class Quantized:
    """One quantizer's graph and what it answers.

    Attributes:
        candidate: the quantizer.
        row: what is known of it so far: images, and seconds and memory, or the reason why there is no graph.
        answers: of its graph; None where there is none.
    """

    candidate: Candidate
    row: dict[str, Any]
    answers: Accuracy | None = None


def main() -> None:
    """Quantize with everybody, measure, print and write the table."""
    given = _arguments()
    network, pictures = prepare(given)
    assert pictures.evaluation is not None
    with tempfile.TemporaryDirectory(prefix="resnest-edge-accuracy-") as scratch:
        folder = given.work or Path(scratch)
        about = _lay_out(folder, network, pictures, given)
        limits = Limits(60 * given.minutes, 1024 * given.memory_gib)
        reference = answers_of(network, to_bytes(network.core), pictures.evaluation)
        work = partial(_measured, folder, network, pictures, limits, reference)
        with ThreadPoolExecutor(given.jobs, initializer=_take_cores, initargs=(_shares(given.jobs),)) as pool:
            found = list(pool.map(work, range(len(candidates()))))
    rows = compared(found, reference)
    about = {**about, "evaluated_images": reference.images, "fp32_top1": reference.top1}
    write(given.out, "accuracy", about, rows, render(about, rows))


def _arguments() -> argparse.Namespace:
    parser = arguments(__doc__ or "", "reports/accuracy/demo")
    parser.add_argument("--validation-images", type=int, default=512, help="for quantizers that steer by accuracy")
    parser.add_argument("--minutes", type=float, default=60, help="most that one quantizer may take")
    parser.add_argument("--memory-gib", type=float, default=12, help="likewise")
    parser.add_argument(
        "--jobs", type=int, default=1, help="quantizers at work at once, each on its share of the cores"
    )
    parser.add_argument("--work", type=Path, help="a folder that keeps graphs and answers: an interrupted run goes on")
    return parser.parse_args()


def _lay_out(folder: Path, network: Network, pictures: Pictures, given: argparse.Namespace) -> dict[str, Any]:
    """Write what every process reads.

    Raises:
        UsageError: the folder holds the work of another network or other pictures.
    """
    assert pictures.calibration is not None
    folder.mkdir(parents=True, exist_ok=True)
    save_graph(network.core, folder / CORE)
    rest = exclude(open_pictures(image_source(given), network.num_classes), pictures.calibration)
    validation = sample(rest, given.validation_images, 0)
    for name, images in ((CALIBRATION, pictures.calibration), (VALIDATION, validation)):
        write_list(images, folder / name, force=True)
    about = {
        "model": network.name,
        "form": given.form,
        "classes": network.num_classes,
        "preprocessing": network.preprocessing.to_json(),
        "calibration_images": len(pictures.calibration),
        "validation_images": len(validation),
        "graph": digest(network.core),
        "lists": [sha256_file(folder / name) for name in (CALIBRATION, VALIDATION)],
        "quantizers": [candidate.name for candidate in candidates()],
    }
    text = json.dumps(about, indent=1)
    if (folder / ABOUT).exists() and (folder / ABOUT).read_text(encoding="utf-8") != text:
        raise UsageError(
            f"{folder} holds the work of another network, other pictures or quantizers; use another --work"
        )
    write_atomically(folder / ABOUT, text.encode())
    return about


def _shares(jobs: int) -> SimpleQueue[set[int]]:
    """The cores of each job: as many as there are for each, or one that others have too."""
    cores = sorted(os.sched_getaffinity(0))
    shares: SimpleQueue[set[int]] = SimpleQueue()
    for job in range(jobs):
        shares.put(set(cores[job::jobs] or [cores[job % len(cores)]]))
    return shares


def _take_cores(shares: SimpleQueue[set[int]]) -> None:
    """Stay on one job's cores, with what this thread starts: runtimes that wait for each other's threads lose much."""
    os.sched_setaffinity(0, shares.get())


def _measured(
    folder: Path, network: Network, pictures: Pictures, limits: Limits, reference: Accuracy, number: int
) -> Quantized:
    """A candidate's graph and answers, from the folder where an earlier run has left them."""
    assert pictures.evaluation is not None and pictures.calibration is not None
    candidate, path = candidates()[number], result_path(folder, number)
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else run_apart(folder, number, limits)
    most = len(pictures.calibration)
    row = {"quantizer": candidate.name, "images": min(candidate.images or most, most), **told}
    print(f"{candidate.name}: {told}", flush=True)
    if "reason" in told:
        return Quantized(candidate, row)
    graph = path.with_suffix(".onnx").read_bytes()
    answers = _answers(path.with_suffix(".npy"), network, graph, pictures.evaluation, reference)
    layers = len(list(weighted_nodes(network.core.graph, WEIGHTED)))
    return Quantized(candidate, {**row, **described(graph), "layers": layers}, answers)


def _answers(kept: Path, network: Network, graph: bytes, images: ImageSet, reference: Accuracy) -> Accuracy:
    if kept.exists():
        return Accuracy(np.load(kept, allow_pickle=False), reference.labels, reference.indices)
    found = answers_of(network, graph, images)
    np.save(kept, found.logits)
    return found


def described(graph: bytes) -> dict[str, Any]:
    """The style of a Q/DQ graph, and how many weighted layers it computes from quantized inputs and weights.

    ``portable`` is what TensorRT takes: every activation in int8 with zero point 0. Anything else is ``cpu``.
    """
    model = ir.from_proto(onnx.load_model_from_string(graph))
    portable = True
    for node in model.graph:
        if node.op_type == "QuantizeLinear" and node.inputs[0] is not None and not node.inputs[0].is_initializer():
            zero = node.inputs[2].const_value if len(node.inputs) > 2 and node.inputs[2] is not None else None
            portable &= zero is not None and zero.dtype is ir.DataType.INT8 and not zero.numpy().any()
    return {"style": "portable" if portable else "cpu", "int8_layers": len(quantized_layers(model))}


def compared(found: Sequence[Quantized], reference: Accuracy) -> list[dict[str, Any]]:
    """The rows of the table; the first of ours in each style is what the others of that style are held to."""
    ours: dict[str, Accuracy] = {}
    rows = []
    for one in found:
        if one.answers is None:
            rows.append(one.row)
            continue
        first = ours.setdefault(one.row["style"], one.answers)
        row = {**one.row, **figures(one.answers, reference), "ours": one.candidate.ours, "better_db": None}
        if first is not one.answers:
            both = (reference.logits, first.logits, one.answers.logits)
            row["better_db"], row["better_db_ci95"] = paired_sqnr_gain(*both)
            row["more_kl"], row["more_kl_ci95"] = paired_kl_gain(*both)
        rows.append(row)
    return rows


def render(about: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """The measurement as Markdown, with what it says of us in a sentence."""
    return (
        f"# {about['model']}: INT8 by others and by us\n\n"
        f"{about['evaluated_images']} images, FP32 top-1 {about['fp32_top1']:.2f} %. All quantize the same FP32 graph; "
        "Q/DQ is computed as each graph writes it, in float32, with 8-bit weights. Which layers are quantized is each "
        "quantizer's own choice, and so is the style: `portable` has every activation in int8 with zero point 0, which "
        "is what TensorRT takes. *Images* calibrate; accuracy control validates on "
        f"{about['validation_images']} others of the same folder. Seconds of CPU and memory are of the quantizer's own "
        "process, from the FP32 graph and the list of pictures to the Q/DQ graph. Better and more are against the "
        "first row of the same style.\n\n"
        f"{table(_COLUMNS, map(_line, rows))}\n{verdict(rows)}\n"
    )


def verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Where another quantizer is nearer to FP32 than ours, by an interval that does not hold zero; or that none is."""
    others = [row for row in rows if "reason" not in row and not row["ours"]]
    nearer = [
        f"- {row['quantizer']} is nearer to FP32 than ours by {words}.\n"
        for row in others
        for words, bounds in (("logit SQNR", row["better_db_ci95"]), ("KL", row["more_kl_ci95"]))
        if bounds[1] < 0
    ]
    none = f"Of the {len(others)} graphs of others, none is nearer to FP32 than ours of the same style"
    return "".join(nearer) if nearer else f"{none}, by logit SQNR or KL, at 95 %.\n"


def _line(row: dict[str, Any]) -> str:
    if "reason" in row:
        return f"| {row['quantizer']} | | | {row['images']} | {row['reason']} |{' |' * (len(_COLUMNS) - 5)}"
    cells = [
        row["quantizer"],
        row["style"],
        f"{row['int8_layers']} of {row['layers']}",
        row["images"],
        f"{row['logit_sqnr_db']:.1f}",
        _difference(row, "better_db", "+.1f"),
        f"{row['kl']:.1e}",
        _difference(row, "more_kl", "+.1e"),
        f"{row['agreement']:.2f}",
        f"{row['top1']:.2f}",
        drop_words(row),
        f"{row['cpu_seconds']:.1f}",
        row["peak_rss_mib"],
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _difference(row: dict[str, Any], key: str, form: str) -> str:
    if row["better_db"] is None:
        return "–"
    low, high = row[f"{key}_ci95"]
    return f"{row[key]:{form}} ({low:{form}} to {high:{form}})"


if __name__ == "__main__":
    main()
