"""How long an INT8 build takes and what memory it needs, beside NNCF's ``quantize`` with the same images.

    python -m benchmarks.build resnest50 --images train/ --weights W            # 512 images, ours and NNCF's in turn
    python -m benchmarks.build resnest50 --images train/ --append --only ours --calib-images 64 --calib-images 2000
    python -m benchmarks.build resnest269 --images train/ --append --only ours --calib-images 8

Every run is a process of its own, one at a time, and rounds are interleaved. ``--append`` adds runs to those in the
report already, which must be of the same machine. Compared are like stages: NNCF's ``quantize`` with all we do between
the exported graph and the Q/DQ graph, decoding included on both sides. NNCF rounds each weight to its nearest integer,
as ``ours-nearest`` does. CPU seconds tell what other work on the machine hides.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.build_run import WHO
from resnest_edge import environment
from resnest_edge.errors import UsageError
from resnest_edge.files import read_regular, write_atomically

QUANTIZING = ("calibrate: decode, run, count", "choose ranges, round weights, correct biases", "write Q/DQ", "quantize")
NAMES = {
    "ours": "resnest-edge, for OpenVINO",
    "ours-nearest": "resnest-edge, for OpenVINO, weights not rounded by their effect",
    "ours-onnxruntime": "resnest-edge, for ONNX Runtime",
    "nncf-openvino": "NNCF quantize, OpenVINO model",
    "nncf-onnx": "NNCF quantize, ONNX model",
}
_MAX_BYTES = 1 << 24
_ROOT = Path(__file__).resolve().parent.parent
_Run = dict[str, Any]


@dataclass(frozen=True)
class Given:
    """The command line."""

    variant: str
    images: str
    weights: str
    image_size: int | None
    counts: tuple[int, ...]
    rounds: int
    only: tuple[str, ...]
    append: bool
    out: Path


def main() -> None:
    """Run, print and write the table after each run."""
    given = _arguments()
    runs = known_runs(given)
    for who, count in _plan(given):
        print(f"{NAMES[who]}: {given.variant}, {count} images", file=sys.stderr, flush=True)
        runs.append(_run(given, who, count))
        _write(given, runs)
    print(render(runs))


def _arguments() -> Given:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", nargs="?", default="resnest50")
    parser.add_argument("--images", default="demo:train", help="calibration pictures; the demo's scenes if left out")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--calib-images", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", action="append", choices=WHO)
    parser.add_argument("--append", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("reports/build"))
    said = parser.parse_args()
    return Given(
        said.variant,
        said.images,
        said.weights,
        said.image_size,
        tuple(said.calib_images or (512,)),
        said.rounds,
        tuple(said.only or WHO),
        said.append,
        said.out,
    )


def _plan(given: Given) -> Iterator[tuple[str, int]]:
    for _ in range(given.rounds):
        for count in given.counts:
            for who in given.only:
                yield who, count


def known_runs(given: Given) -> list[_Run]:
    """The runs of the report that this one adds to; none without ``--append``."""
    path = given.out / "build.json"
    if not given.append or not path.exists():
        return []
    value = json.loads(read_regular(path, _MAX_BYTES))
    if value["machine"] != environment.describe():
        raise UsageError(f"{path} was measured on another machine or with other versions", hint="Use another --out.")
    runs: list[_Run] = value["runs"]
    return runs


def _run(given: Given, who: str, count: int) -> _Run:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.build_run", who, given.variant]
    command += ["--images", given.images, "--weights", given.weights, "--calib-images", str(count)]
    command += [] if given.image_size is None else ["--image-size", str(given.image_size)]
    ran = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode != 0:
        raise SystemExit(f"{NAMES[who]} failed with exit code {ran.returncode}")
    found: _Run = json.loads(ran.stdout[ran.stdout.index('{"who"') :])
    size = given.image_size or "its own"
    return {
        "variant": given.variant,
        "image_size": size,
        "weights": "random" if given.weights == "none" else "trained",
    } | found


def _write(given: Given, runs: list[_Run]) -> None:
    given.out.mkdir(parents=True, exist_ok=True)
    value = {"machine": environment.describe(), "nncf": _version("nncf"), "runs": runs}
    write_atomically(given.out / "build.json", (json.dumps(value, indent=1) + "\n").encode())
    write_atomically(given.out / "build.md", render(runs).encode())


def render(runs: Sequence[_Run]) -> str:
    """Two tables: what quantizing took, and what each stage took; medians over the runs of a kind."""
    machine = environment.describe()
    kinds: dict[tuple[Any, ...], list[_Run]] = {}
    for run in runs:
        kinds.setdefault((run["variant"], run["image_size"], run["who"], run["images"]), []).append(run)
    versions = ", ".join(f"{tool} {machine['versions'][tool]}" for tool in ("onnxruntime", "openvino", "torch"))
    quantizing = [_quantizing_row(kind, found) for kind, found in kinds.items()]
    stages = [row for kind, found in kinds.items() for row in _stage_rows(kind, found)]
    return (
        "# Building: time and memory\n\n"
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_isa'])}); {versions}, "
        f"NNCF {_version('nncf')}. Every run is a process of its own; medians and ranges over its runs. "
        "Quantizing is all between the exported FP32 graph and the Q/DQ graph, decoding included: NNCF's `quantize` at "
        "its defaults on the network as trained, and our calibration (histograms, least error, rounding, biases) "
        "on our form of it. The peak is the whole process's: ours to the finished engine, NNCF's to the quantized "
        "model.\n\n"
        f"{_head('network', 'who', 'images', 'runs', 'quantizing, s', 'CPU, s', 'peak, MiB')}"
        + "\n".join(quantizing)
        + "\n\n## By stage\n\n"
        + _head("network", "who", "images", "stage", "s", "CPU, s", "peak, MiB")
        + "\n".join(stages)
        + "\n"
    )


def _head(*columns: str) -> str:
    return f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"


def _quantizing_row(kind: tuple[Any, ...], runs: Sequence[_Run]) -> str:
    def total(run: _Run, key: str) -> float:
        return sum(float(stage[key]) for stage in run["stages"] if stage["stage"] in QUANTIZING)

    seconds = [total(run, "seconds") for run in runs]
    cpu = [total(run, "cpu_seconds") for run in runs]
    peak = max(stage["peak_rss_mib"] for run in runs for stage in run["stages"])
    return f"| {_named(kind)} | {len(runs)} | {_spread(seconds)} | {_spread(cpu)} | {peak:.0f} |"


def _stage_rows(kind: tuple[Any, ...], runs: Sequence[_Run]) -> Iterator[str]:
    for index, stage in enumerate(runs[0]["stages"]):
        seconds = median(run["stages"][index]["seconds"] for run in runs)
        cpu = median(run["stages"][index]["cpu_seconds"] for run in runs)
        peak = max(run["stages"][index]["peak_rss_mib"] for run in runs)
        yield f"| {_named(kind)} | {stage['stage']} | {seconds:.1f} | {cpu:.1f} | {peak:.0f} |"


def _named(kind: tuple[Any, ...]) -> str:
    variant, size, who, images = kind
    at = "" if size == "its own" else f" at {size}"
    return f"{variant}{at} | {NAMES[who]} | {images}"


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.1f}" + (f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else "")


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
