"""How cost grows: latency and throughput over image size, depth, batch and threads, of bundles that were built before.

    resnest-edge build resnest14d --weights none --images demo:train --image-size 160 --out engines/14d-160
    python -m benchmarks.scaling engines/14d-160 engines/14d-224 engines/50-224 --batch 1 --batch 8

Each batch size and number of threads is one interleaved run of all bundles, kept as soon as it is done. Image size and
multiply-accumulates are read from the bundles; bundles of one network, precision and runtime make a line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.running import exiting, machine, positive, read_kept, refuse_other, say
from resnest_edge.bundle import Bundle, open_bundle
from resnest_edge.files import write_text
from resnest_edge.measure.latency import Plan
from resnest_edge.models.config import cost_of
from resnest_edge.models.variants import find_variant
from resnest_edge.pipeline.benchmark import benchmark_bundles
from resnest_edge.report.line_plot import Axis, Point, Series, line_plot
from resnest_edge.report.svg import standalone
from resnest_edge.report.words import TARGETS

_LATENCY, _SPEED = Axis("median latency, ms", zero=True), Axis("images per second", zero=True)


@dataclass(frozen=True)
class Quantity:
    """What grows, and what is drawn over it.

    Attributes:
        file: of the picture.
        heading: of the picture.
        across: its x axis.
        down: its y axis.
        x: of a measurement.
        fixed: what measurements of one line share besides.
    """

    file: str
    heading: str
    across: Axis
    down: Axis
    x: Callable[[Mapping[str, Any]], float]
    fixed: tuple[str, ...]


def quantities() -> list[Quantity]:
    """Latency over size, depth and threads, and throughput over batch."""
    size, depth = Axis("image size, pixels"), Axis("multiply-accumulates of one image, billions")
    batch, threads = Axis("images per inference (batch)", logarithmic=None), Axis("threads")
    return [
        Quantity("image-size.svg", "Latency over image size", size, _LATENCY, _of("image_size"), ("model", "threads")),
        Quantity("depth.svg", "Latency over depth", depth, _LATENCY, _of("gmacs"), ("image_size", "threads")),
        Quantity("threads.svg", "Latency over threads", threads, _LATENCY, _of("threads"), ("model", "image_size")),
        Quantity("batch.svg", "Throughput over batch", batch, _SPEED, _of("batch"), ("model", "image_size", "threads")),
    ]


def main() -> None:
    """Measure what is missing, print and write."""
    given = _arguments()
    bundles = [open_bundle(path) for path in given.bundles]
    path = given.out / "scaling.json"
    head = {
        "machine": machine(),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "bundles": [bundle.digest for bundle in bundles],
    }
    value = _begun(path, head, force=given.force)
    done = {(run["batch"], run["threads"]) for run in value["runs"]}
    for batch, threads in product(given.batch, given.threads):
        if (batch, threads) not in done:
            say(f"batch {batch}, {threads} threads")
            value["runs"].append(_run(bundles, batch, threads, given))
            write_text(path, json.dumps(value, indent=1) + "\n")
    print(write_pages(value, given.out))


def _begun(path: Path, head: Mapping[str, Any], *, force: bool) -> dict[str, Any]:
    """The file of an earlier run, or a new one."""
    if not path.exists() or force:
        return {**head, "runs": []}
    before = read_kept(path, ("runs",), "--out")
    refuse_other(path, json.loads(json.dumps(head)), {name: before.get(name) for name in head}, "--out")
    return before


def _run(bundles: Sequence[Bundle], batch: int, threads: int, given: argparse.Namespace) -> dict[str, Any]:
    plan = Plan((batch,), (1,), threads=threads, rounds=given.rounds, seconds=given.seconds, warmup=given.seconds)
    told = benchmark_bundles(bundles, plan).to_json()
    rows = [_row(bundle, result, threads) for bundle, result in zip(bundles, told["results"], strict=True)]
    return {
        "batch": batch,
        "threads": threads,
        "rows": rows,
        "conditions": told["conditions"],
        "warnings": told["warnings"],
    }


def _row(bundle: Bundle, result: Mapping[str, Any], threads: int) -> dict[str, Any]:
    manifest = bundle.manifest
    info = manifest.info
    cost = cost_of(find_variant(info.name).config, info.image_size, info.num_classes)
    form = "" if info.form is None or str(info.form) == "split" else info.form
    return {
        "model": info.name,
        "engine": f"{info.precision.value.upper()} {TARGETS[manifest.target.value]} {form}".strip(),
        "image_size": info.image_size,
        "gmacs": cost.macs / 1e9,
        "batch": result["batch"],
        "threads": threads,
        "latency_ms": result["latency_ms"]["p50"],
        "images_per_second": result["images_per_second"],
        "images_per_second_ci95": result["images_per_second_ci95"],
    }


def write_pages(value: Mapping[str, Any], out: Path) -> str:
    """Write ``scaling.md`` and a picture for each quantity of which a line holds more than one value.

    Returns:
        The Markdown.
    """
    rows = [row for run in value["runs"] for row in run["rows"]]
    shown = []
    for quantity in quantities():
        if lines := growth(rows, quantity):
            drawn = line_plot(quantity.heading, lines, quantity.across, quantity.down)
            write_text(out / quantity.file, standalone(drawn))
            shown.append(f"![{quantity.heading}]({quantity.file})")
    text = render(value, rows, shown)
    write_text(out / "scaling.md", text)
    return text


def growth(rows: Sequence[Mapping[str, Any]], quantity: Quantity) -> list[Series]:
    """Lines of more than one value: latency at batch 1 alone, each line at the most threads where those do not vary."""
    most = max((row["threads"] for row in rows), default=0)
    lines: dict[str, dict[float, Point]] = {}
    for row in rows:
        if quantity.down is _LATENCY and row["batch"] != 1:
            continue
        if "threads" in quantity.fixed and row["threads"] != most:
            continue
        words = [str(row["model"])] if "model" in quantity.fixed else []
        words += [row["engine"]] + ([f"{row['image_size']} px"] if "image_size" in quantity.fixed else [])
        x = quantity.x(row)
        lines.setdefault(" ".join(words), {})[x] = _point(row, x, quantity.down)
    return [Series(name, tuple(points.values())) for name, points in lines.items() if len(points) > 1]


def _point(row: Mapping[str, Any], x: float, down: Axis) -> Point:
    if down is _LATENCY:
        return Point(x, row["latency_ms"])
    return Point(x, row["images_per_second"], *(row["images_per_second_ci95"] or (None, None)))


def render(value: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], pictures: Sequence[str]) -> str:
    """The table of everything that was measured, below the pictures."""
    told = value["machine"]
    head = (
        f"{told['cpu']}, {told['cores']} cores ({', '.join(told['cpu_isa'])}); {value['rounds']} rounds of "
        f"{value['seconds']} s for each bundle, interleaved; one run for each batch size and number of threads."
    )
    lines = [
        "| network | engine | pixels | GMAC | batch | threads | median latency, ms | images/s | GMAC/s |",
        "|---" * 9 + "|",
    ]
    lines += [
        f"| {row['model']} | {row['engine']} | {row['image_size']} | {row['gmacs']:.2f} | {row['batch']} "
        f"| {row['threads']} | {row['latency_ms']:.2f} | {row['images_per_second']:.1f} "
        f"| {row['gmacs'] * row['images_per_second']:.0f} |"
        for row in sorted(rows, key=lambda row: (row["engine"], row["gmacs"], row["threads"], row["batch"]))
    ]
    warned = [
        f"- batch {run['batch']}, {run['threads']} threads: {warning}"
        for run in value["runs"]
        for warning in run["warnings"]
    ]
    return "\n\n".join(["# How cost grows", head, *pictures, "\n".join(lines), "\n".join(warned)]).rstrip() + "\n"


def _of(key: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda row: float(row[key])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, help="folders that `resnest-edge build` wrote")
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--threads", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--force", action="store_true", help="measure anew what --out holds")
    parser.add_argument("--out", type=Path, default=Path("reports/scaling"))
    given = parser.parse_args()
    given.batch = positive(given.batch, (1, 2, 4, 8), "batch size")
    given.threads = positive(given.threads, (1, 2), "number of threads")
    return given


if __name__ == "__main__":
    exiting(main)
