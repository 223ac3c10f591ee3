"""ResNeSt as others run it and as we do, side by side in one interleaved run: latency and throughput.

    python -m benchmarks.peers resnest50 --weights W --image-size 224 --images train/ --out reports/peers/resnest50
    python -m benchmarks.peers resnest14d                          # random weights: enough to measure speed

Each engine has a process of its own, one is at work at a time, and a ratio is taken within a round, so that a machine
whose speed drifts does not decide. Others get the network as it was trained, exported as they would export it; all take
the same uint8 frames. A peer that is not installed or fails is a row with the reason.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_recipes import BATCH, Trained, describe_network, peers
from benchmarks.peer_sessions import OPENER
from resnest_edge import environment
from resnest_edge.files import write_atomically
from resnest_edge.images import iter_batches
from resnest_edge.measure.latency import Benchmark, Plan, Subject, benchmark
from resnest_edge.pipeline.build import build
from resnest_edge.pipeline.calibrate import calibrate
from resnest_edge.pipeline.pictures import open_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.sources import PreprocessingChoice
from resnest_edge.spec import Form, Precision, Target

_FRAMES = 32
OURS = "resnest-edge INT8, OpenVINO"


@dataclass(frozen=True)
class Given:
    """The command line."""

    what: str
    weights: str
    image_size: int | None
    images: str | None
    calib_images: int
    batches: tuple[int, ...]
    streams: tuple[int, ...]
    rounds: int
    seconds: float
    only: tuple[str, ...]
    out: Path


def main() -> None:
    """Make every engine, measure, print and write the table."""
    given = _arguments()
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="resnest-edge-peers-") as scratch:
        folder = Path(scratch)
        request = _request(given, folder)
        network = describe_network(request)
        subjects = [*_ours(request, given, folder, failed), *_theirs(network, given, folder, failed)]
        plan = Plan(given.batches, given.streams, rounds=given.rounds, seconds=given.seconds)
        measured = benchmark(subjects, plan, opener=OPENER, frames=_frames(network), on_progress=_tell)
    _write(given, network, measured, failed)


def _arguments() -> Given:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="resnest50")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--images", help="calibration pictures; the demo's scenes if left out")
    parser.add_argument("--calib-images", type=int, default=64)
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--streams", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--only", action="append", help="measure only engines whose name holds this")
    parser.add_argument("--out", type=Path)
    said = parser.parse_args()
    return Given(
        said.what,
        said.weights,
        said.image_size,
        said.images,
        said.calib_images,
        tuple(said.batch or (1, 8)),
        tuple(said.streams or (1, 2)),
        said.rounds,
        said.seconds,
        tuple(said.only or ()),
        said.out or Path("reports/peers") / said.what,
    )


def _request(given: Given, folder: Path) -> BuildRequest:
    """What all engines are made of; its pictures are a list, so that everybody calibrates on the same ones."""
    choice = PreprocessingChoice(image_size=given.image_size)
    listed = folder / "calibration.txt"
    request = BuildRequest(
        what=given.what,
        weights=given.weights,
        choice=choice,
        batch=BATCH,
        images=given.images or "demo:train",
        calib_images=given.calib_images,
    )
    calibrate(request, listed, None)
    return replace(request, images=str(listed))


def _ours(request: BuildRequest, given: Given, folder: Path, failed: dict[str, str]) -> list[Subject]:
    """Our bundles: every precision of the split form, and INT8 in the other equal forms."""
    openvino, onnxruntime = Target.OPENVINO, Target.ONNXRUNTIME
    wanted = [
        (OURS, Form.SPLIT, openvino, Precision.INT8),
        ("resnest-edge BF16, OpenVINO", Form.SPLIT, openvino, Precision.BF16),
        ("resnest-edge FP32, OpenVINO", Form.SPLIT, openvino, Precision.FP32),
        ("resnest-edge INT8, ONNX Runtime", Form.SPLIT, onnxruntime, Precision.INT8),
        ("resnest-edge FP32, ONNX Runtime", Form.SPLIT, onnxruntime, Precision.FP32),
        ("resnest-edge INT8, OpenVINO, grouped form", Form.GROUPED, openvino, Precision.INT8),
        ("resnest-edge INT8, OpenVINO, dense form", Form.DENSE, openvino, Precision.INT8),
    ]
    subjects: list[Subject] = []
    for name, form, target, precision in wanted:
        if not _chosen(name, given) and name != OURS:
            continue
        out = folder / name.replace(" ", "-").replace(",", "")
        asked = replace(request, form=form, targets=(target,), precisions=(precision,), out=out)
        _attempt(name, failed, partial(build, asked))
        if name not in failed:
            subjects.append(Subject(name, out, target.value))
    return subjects


def _theirs(network: Trained, given: Given, folder: Path, failed: dict[str, str]) -> list[Subject]:
    subjects: list[Subject] = []
    for peer in peers():
        if not _chosen(peer.name, given):
            continue
        out = folder / f"peer-{len(subjects)}-{len(failed)}"
        out.mkdir()
        _attempt(peer.name, failed, partial(peer.make, network, out))
        if peer.name not in failed:
            subjects.append(Subject(peer.name, out, peer.runtime))
    return subjects


def _chosen(name: str, given: Given) -> bool:
    return not given.only or any(part.lower() in name.lower() for part in given.only)


def _attempt(name: str, failed: dict[str, str], work: Callable[[], Any]) -> None:
    print(f"make {name}", file=sys.stderr, flush=True)
    try:
        work()
    except Exception as exc:  # noqa: BLE001 - somebody else's program: its failure is its row
        text = str(exc).strip().splitlines()
        failed[name] = f"{type(exc).__name__}: {text[0] if text else ''}"[:160]
        print(f"  {failed[name]}", file=sys.stderr, flush=True)


def _frames(network: Trained) -> np.ndarray[Any, np.dtype[np.uint8]]:
    pictures = open_pictures(str(network.request.images), None)
    batch = next(iter_batches(pictures, network.preprocessing, min(_FRAMES, len(pictures))))
    return batch.images.astype(np.uint8)


def _tell(done: int, total: int) -> None:
    if done % 20 == 0 or done == total:
        print(f"measured {done} of {total}", file=sys.stderr, flush=True)


def _write(given: Given, network: Trained, measured: Benchmark, failed: Mapping[str, str]) -> None:
    value = {
        "model": network.name,
        "image_size": network.preprocessing.image_size,
        "weights": "random" if given.weights == "none" else "trained",
        "macs_per_image": network.macs,
        "machine": environment.describe(),
        "failed": dict(failed),
        **measured.to_json(),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    write_atomically(given.out / "peers.json", (json.dumps(value, indent=1) + "\n").encode())
    text = render(value)
    write_atomically(given.out / "peers.md", text.encode())
    print(text)


def render(value: Mapping[str, Any]) -> str:
    """The measurement as Markdown: latency at batch 1 and one stream, and the best throughput of each engine."""
    machine = value["machine"]
    rows = []
    names = list(dict.fromkeys(result["bundle"] for result in value["results"]))
    base = _best(value["results"], names[0])
    for name in names:
        single = _cell(value["results"], name, 1, 1)
        best = _best(value["results"], name)
        p50 = None if single is None else single["latency_ms"]["p50"]
        speed = _speedup(value["ratios"], name)
        achieved = f"{value['macs_per_image'] * best['images_per_second'] / 1e9:.0f}"
        rows.append(
            f"| {name} | {'–' if p50 is None else f'{p50:.1f}'} | {speed} | {best['images_per_second']:.1f} "
            f"({best['batch']} × {best['streams']}) | {best['images_per_second'] / base['images_per_second']:.2f} "
            f"| {achieved} | {best['peak_rss_mib']:.0f} |"
        )
    rows += [f"| {name} | {reason} | | | | | |" for name, reason in value["failed"].items()]
    conditions = value["conditions"]
    return (
        f"# {value['model']} at {value['image_size']} px: others and us\n\n"
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_isa'])}); "
        f"{conditions['rounds']} rounds of {conditions['slice_seconds']} s for each engine, batch size and number of "
        f"streams, interleaved; {value['weights']} weights. Speed is relative to `{names[0]}`, within each round: "
        "median, and quartiles over the rounds.\n\n"
        "| engine | median latency, ms (batch 1) | speed, of the first's (quartiles) | best images/s "
        "(batch × streams) | of the first's | GMAC/s | peak MiB |\n|---|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n\n"
        + "".join(f"- {warning}\n" for warning in value["warnings"])
    )


def _cell(results: Sequence[Mapping[str, Any]], name: str, batch: int, streams: int) -> Mapping[str, Any] | None:
    wanted = (name, batch, streams)
    return next((r for r in results if (r["bundle"], r["batch"], r["streams"]) == wanted), None)


def _best(results: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return max((r for r in results if r["bundle"] == name), key=lambda r: float(r["images_per_second"]))


def _speedup(ratios: Sequence[Mapping[str, Any]], name: str) -> str:
    """The engine's speed as a share of the first's, at batch 1 and one stream."""
    found = next((r for r in ratios if (r["bundle"], r["batch"], r["streams"]) == (name, 1, 1)), None)
    if found is None:
        return "–"
    speedup = found["speedup"]
    return f"{speedup['median']:.2f} ({speedup['q25']:.2f} to {speedup['q75']:.2f})"


if __name__ == "__main__":
    main()
