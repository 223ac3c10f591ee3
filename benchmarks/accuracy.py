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
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from benchmarks.accuracy_page import render
from benchmarks.quantizer_process import (
    ABOUT,
    CALIBRATION,
    CORE,
    VALIDATION,
    Limits,
    read_task,
    result_path,
    run_apart,
)
from benchmarks.quantizer_report import (
    RUNNERS,
    arguments,
    evaluation_source,
    figures,
    image_source,
    prepare,
    write,
)
from benchmarks.quantizers import Candidate, candidates
from resnest_edge.errors import UsageError
from resnest_edge.files import partial_file, sha256_file, write_atomically
from resnest_edge.graph.model import digest, save_graph, to_bytes, weighted_nodes
from resnest_edge.images import exclude, sample, write_list
from resnest_edge.measure.accuracy import Accuracy
from resnest_edge.measure.statistics import paired_kl_gain, paired_sqnr_gain
from resnest_edge.pipeline.pictures import open_pictures
from resnest_edge.pipeline.typed import Network
from resnest_edge.quantize.insertion import quantized_layers
from resnest_edge.quantize.placement import WEIGHTED
from resnest_edge.spec import QdqStyle

_OF_THE_TASK = frozenset(
    {"what", "weights", "form", "image_size", "resize", "interpolation", "images", "calib_images", "eval_images"}
    | {"validation_images"}
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
    with tempfile.TemporaryDirectory(prefix="resnest-edge-accuracy-") as scratch:
        folder = given.work or Path(scratch)
        about = _about(folder, given)
        network = read_task(folder).network
        images = open_pictures(evaluation_source(given), network.num_classes)
        limits = Limits(60 * given.minutes, 1024 * given.memory_gib)
        shares = _shares(given.jobs)
        with ThreadPoolExecutor(given.jobs, initializer=_take_cores, initargs=(shares,)) as pool:
            run_graph = RUNNERS[given.run]

            def run(graph: bytes) -> Accuracy:
                return run_graph(network, graph, images)

            kept = folder / f"reference.{given.run}.npz"
            reference = pool.submit(_answers, kept, partial(run, to_bytes(network.core))).result()
            work = partial(_measured, folder, given, limits, network, run)
            found = list(pool.map(work, _chosen(given)))
    rows = compared(found, reference)
    about = {**about, "run": given.run, "evaluated_images": reference.images, "fp32_top1": reference.top1}
    text = render(about, rows)
    write(given.out, "accuracy", about, rows, text)
    print(text)


def _arguments() -> argparse.Namespace:
    parser = arguments(__doc__ or "", "reports/accuracy/demo")
    parser.add_argument("--validation-images", type=int, default=512, help="for quantizers that steer by accuracy")
    parser.add_argument("--minutes", type=float, default=60, help="most that one quantizer may take")
    parser.add_argument("--memory-gib", type=float, default=12, help="likewise")
    parser.add_argument("--run", choices=RUNNERS, default="written", help="how the graphs are run")
    parser.add_argument("--only", action="append", help="only quantizers whose name holds this, and our default ones")
    parser.add_argument("--jobs", type=int, default=1, help="quantizers at work at once, each on cores of its own")
    parser.add_argument("--work", type=Path, help="a folder that keeps graphs and answers: an interrupted run goes on")
    return parser.parse_args()


def _about(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What a folder's task is; laid out there where it is not yet.

    Raises:
        UsageError: the folder holds the work of another command line.
    """
    asked = sorted((key, str(value)) for key, value in vars(given).items() if key in _OF_THE_TASK)
    weights = Path(given.weights or "")
    content = sha256_file(weights) if weights.is_file() else ""
    identity = hashlib.sha256(repr((asked, content)).encode()).hexdigest()
    if not (folder / ABOUT).exists():
        _lay_out(folder, given, identity)
    about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    if about["asked"] != identity:
        raise UsageError(f"{folder} holds the work of another network or other pictures", hint="Use another --work.")
    return about


def _lay_out(folder: Path, given: argparse.Namespace, identity: str) -> None:
    """Write what every process reads."""
    network, pictures = prepare(given)
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
        "asked": identity,
    }
    write_atomically(folder / ABOUT, (json.dumps(about, indent=1) + "\n").encode())


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


def _chosen(given: argparse.Namespace) -> list[int]:
    """Numbers of the candidates that are asked for; ours that the others are compared with always are."""
    parts = [part.lower() for part in given.only or [""]]
    names = [candidate.name.lower() for candidate in candidates()]
    return [n for n, name in enumerate(names) if n < len(QdqStyle) or any(part in name for part in parts)]


def _measured(
    folder: Path,
    given: argparse.Namespace,
    limits: Limits,
    network: Network,
    run: Callable[[bytes], Accuracy],
    number: int,
) -> Quantized:
    """A candidate's graph and answers, from the folder where an earlier run has left them."""
    candidate, path = candidates()[number], result_path(folder, number)
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else run_apart(folder, number, limits)
    most: int = given.calib_images
    row = {"quantizer": candidate.name, "images": min(candidate.images or most, most), **told}
    print(f"{candidate.name}: {told}", flush=True)
    if "reason" in told:
        return Quantized(candidate, row)
    graph = path.with_suffix(".onnx").read_bytes()
    answers = _answers(path.with_suffix(f".{given.run}.npz"), partial(run, graph))
    layers = len(list(weighted_nodes(network.core.graph, WEIGHTED)))
    return Quantized(candidate, {**row, **described(graph), "layers": layers}, answers)


def _answers(kept: Path, run: Callable[[], Accuracy]) -> Accuracy:
    """What a graph answers; kept, so that a run that goes on need not ask again."""
    if not kept.exists():
        found = run()
        with partial_file(kept) as file:
            labels = np.zeros(0, np.int64) if found.labels is None else found.labels
            np.savez(file, logits=found.logits, indices=found.indices, labels=labels)
    with np.load(kept, allow_pickle=False) as stored:
        return Accuracy(stored["logits"], stored["labels"] if stored["labels"].size else None, stored["indices"])


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
        if one.candidate.ours:
            ours.setdefault(one.row["style"], one.answers)
        first = ours.get(one.row["style"])
        row = {**one.row, **figures(one.answers, reference), "ours": one.candidate.ours, "better_db": None}
        if first is not None and first is not one.answers:
            both = (reference.logits, first.logits, one.answers.logits)
            row["better_db"], row["better_db_ci95"] = paired_sqnr_gain(*both)
            row["more_kl"], row["more_kl_ci95"] = paired_kl_gain(*both)
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
