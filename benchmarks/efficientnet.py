"""ResNeSt-101 at 256 pixels beside an EfficientNet-B4 at 380: the speed that the ResNeSt paper's headline compares.

    python -m benchmarks.efficientnet --engines E --make-only    # now make the engines, and measure later:
    python -m benchmarks.efficientnet --engines E

arXiv 2004.08955 gives the two about the same accuracy, and the ResNeSt 1.95 times the throughput on a V100. Here both
go through this package, of random weights: one interleaved run of all precisions of both, and of the ResNeSt exported
as trained; a ratio is taken within a round.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.efficientnet_network import IMAGE_SIZE, count, random_network
from benchmarks.peer_engines import OURS, Made, Workshop
from benchmarks.peer_recipes import BATCH
from benchmarks.peer_sessions import OPENER
from benchmarks.running import CellRuns, EngineFolder, exiting, machine, measure_cell, positive
from resnest_edge import environment
from resnest_edge.files import write_text
from resnest_edge.graph.export import export_graph
from resnest_edge.graph.model import save_graph
from resnest_edge.graph.simplify import simplify_graph
from resnest_edge.images import sample
from resnest_edge.pipeline.build import build_source
from resnest_edge.pipeline.core import ANY_BATCH
from resnest_edge.pipeline.pictures import Pictures, open_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.sources import PreprocessingChoice, find_source
from resnest_edge.spec import IMAGENET_MEAN, IMAGENET_STD, Precision, Target

RESNEST = "resnest101"
PAIRS = {
    "INT8 against INT8": (OURS, "EfficientNet-B4 INT8"),
    "BF16 against BF16": ("resnest-edge BF16, OpenVINO", "EfficientNet-B4 BF16"),
    "FP32 against FP32": ("resnest-edge FP32, OpenVINO", "EfficientNet-B4 FP32"),
    "BF16 against BF16, the ResNeSt as trained": ("OpenVINO BF16", "EfficientNet-B4 BF16"),
    "FP32 against FP32, the ResNeSt as trained": ("OpenVINO FP32", "EfficientNet-B4 FP32"),
}
"""What is compared like against like: ours and the other's engine."""

_OPENVINO = Target.OPENVINO.value
_OTHERS = {
    f"EfficientNet-B4 {precision.name}": precision for precision in (Precision.INT8, Precision.BF16, Precision.FP32)
}


def main() -> None:
    """Make what is missing, measure, print and write."""
    given = _arguments()
    made = Made(RESNEST, "none", None, "demo:train", given.calib_images)
    ours = EngineFolder(given.engines / RESNEST, made.identity())
    wanted = [(name, _OPENVINO) for name, _ in PAIRS.values()]
    Workshop(made, ours).make(wanted)
    identity = {
        "network": "EfficientNet-B4",
        "calib_images": given.calib_images,
        "versions": environment.tool_versions(),
    }
    theirs = EngineFolder(given.engines / "efficientnet-b4", identity)
    _make_theirs(theirs, given.calib_images)
    if given.make_only:
        return
    subjects = [*ours.subjects(wanted), *theirs.subjects([(name, _OPENVINO) for name in _OTHERS])]
    head = {
        "machine": machine(),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "networks": {"ResNeSt-101": _cost(ours), "EfficientNet-B4": _cost(theirs)},
        "failed": {**ours.failed, **theirs.failed},
    }
    runs = CellRuns(given.out / "efficientnet.json", head, force=given.force)
    for cell in runs.missing([(batch, 1) for batch in given.batch]):
        runs.add(cell, measure_cell(subjects, cell, given.rounds, given.seconds, OPENER, None))
    text = render(runs.value)
    write_text(given.out / "efficientnet.md", text)
    print(text)


def _cost(kept: EngineFolder) -> dict[str, Any]:
    return {"image_size": kept.notes["image_size"], "macs": kept.notes["macs_per_image"]}


def _make_theirs(kept: EngineFolder, images: int) -> None:
    """The EfficientNet through the path that any ONNX classifier takes: `build model.onnx`."""
    graph = kept.path / "efficientnet-b4.onnx"
    if not graph.exists():
        graph.parent.mkdir(parents=True, exist_ok=True)
        exported = export_graph(random_network(), image_size=IMAGE_SIZE, batch=ANY_BATCH)
        save_graph(simplify_graph(exported), graph)
        kept.notes = {"image_size": IMAGE_SIZE, "macs_per_image": count(random_network(), IMAGE_SIZE).macs}
        kept.save()
    for name, precision in _OTHERS.items():
        kept.make(name, partial(_build, graph, precision, images))


def _build(graph: Path, precision: Precision, images: int, out: Path) -> None:
    choice = PreprocessingChoice(mean=IMAGENET_MEAN, std=IMAGENET_STD, color="rgb", resize=str(IMAGE_SIZE))
    target = (Target.OPENVINO,)
    asked = BuildRequest(str(graph), choice=choice, precisions=(precision,), targets=target, batch=BATCH, out=out)
    drawn = sample(open_pictures("demo:train", None), images, 0)
    source = find_source(str(graph), choice=choice)
    build_source(asked, source, Pictures(drawn, None, "speed was measured, not accuracy"))


Results = Sequence[Mapping[str, Any]]
"""What ``benchmark --json`` gives of each engine and batch size."""


def ratio(results: Results, batch: int, ours: str, theirs: str) -> tuple[float, float, float] | None:
    """How many times another engine's throughput ours has, within each round: lower quartile, median, upper quartile.

    Returns:
        None where one of the two was not measured.
    """
    rounds = []
    for name in (ours, theirs):
        found = next((r for r in results if (r["bundle"], r["batch"]) == (name, batch)), None)
        if found is None:
            return None
        rounds.append(np.asarray(found["rounds_images_per_second"]))
    low, middle, high = np.percentile(rounds[0] / rounds[1], [25, 50, 75]).tolist()
    return low, middle, high


def best(results: Results, batch: int, names: Sequence[str]) -> str | None:
    """The quickest of these engines at a batch size; None where none was measured."""
    found = [result for result in results if result["batch"] == batch and result["bundle"] in names]
    return max(found, key=lambda result: float(result["images_per_second"]))["bundle"] if found else None


def render(value: Mapping[str, Any]) -> str:
    """Ratios and engines as Markdown, batch by batch."""
    told, networks = value["machine"], value["networks"]
    costs = (f"{name} {cost['macs'] / 1e9:.2f} GMAC at {cost['image_size']} px" for name, cost in networks.items())
    conditions = (
        f"{told['cpu']}, {told['cores']} cores ({', '.join(told['cpu_isa'])}), OpenVINO "
        f"{told['versions'].get('openvino', '')}; {value['rounds']} interleaved rounds of {value['seconds']} s; random "
        f"weights. {', '.join(costs)}. Ratios are throughput of the ResNeSt over that of the EfficientNet within a "
        "round: median, and quartiles over the rounds. The paper has 1.95 on a V100."
    )
    sections = ["# ResNeSt-101 beside EfficientNet-B4", conditions]
    for run in value["runs"]:
        sections += [f"## Batch {run['batch']}", _ratios(value["results"], run["batch"])]
        sections += [_engines(value["results"], run["batch"])]
        sections += ["\n".join(f"- {warning}" for warning in run["warnings"])]
    sections += ["\n".join(f"- {name}: {reason}" for name, reason in value["failed"].items())]
    return "\n\n".join(section for section in sections if section) + "\n"


def _ratios(results: Results, batch: int) -> str:
    pairs = dict(PAIRS)
    ours, theirs = best(results, batch, [one for one, _ in PAIRS.values()]), best(results, batch, list(_OTHERS))
    if ours is not None and theirs is not None:
        pairs = {f"best against best: `{ours}` and `{theirs}`": (ours, theirs), **pairs}
    lines = ["| compared | ratio (quartiles) |", "|---|---|"]
    for words, (one, other) in pairs.items():
        if (found := ratio(results, batch, one, other)) is not None:
            low, middle, high = found
            lines.append(f"| {words} | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    return "\n".join(lines)


def _engines(results: Results, batch: int) -> str:
    lines = ["| engine | median latency, ms | images/s |", "|---|---|---|"]
    lines += [
        f"| {_named(result['bundle'])} | {result['latency_ms']['p50']:.1f} | {result['images_per_second']:.2f} |"
        for result in results
        if result["batch"] == batch
    ]
    return "\n".join(lines)


def _named(bundle: str) -> str:
    return bundle if bundle in _OTHERS else f"ResNeSt-101: {bundle}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", type=Path, required=True, help="folder that keeps the engines")
    parser.add_argument("--calib-images", type=int, default=8)
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--make-only", action="store_true", help="make the engines into --engines, and stop")
    parser.add_argument("--force", action="store_true", help="measure anew what --out holds")
    parser.add_argument("--out", type=Path, default=Path("reports/efficientnet"))
    given = parser.parse_args()
    given.batch = positive(given.batch, (1, 8), "batch size")
    return given


if __name__ == "__main__":
    exiting(main)
