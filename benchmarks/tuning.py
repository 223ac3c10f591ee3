"""Make the table of measured defaults that ships with the package: one `resnest-edge tune` for each entry.

    python -m benchmarks.tuning                                      # every network, target and precision below
    python -m benchmarks.tuning resnest50 --target openvino --precision int8
    python -m benchmarks.tuning --show                               # the table as Markdown, measuring nothing

Weights are random: speed does not depend on them. Each entry is written as soon as it is measured, in the place of an
older one of the same network, size, target, precision and batch on a processor of the same kind. What `tune` has in its
cache is taken from there, so that an interrupted run goes on; --force measures anew. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from resnest_edge.files import write_atomically
from resnest_edge.pipeline.tunings import SCHEMA, SHIPPED, Device, Record, Trial, record_of, shipped_records

NETWORKS = ("resnest14d", "resnest50", "1s4x24d", "4s2x40d")
TARGETS = ("openvino", "onnxruntime")
PRECISIONS = ("int8", "fp32", "bf16")
_FEW_PICTURES = ("--calib-images", "8", "--no-bias-correction", "--no-round-weights")  # ranges decide no speed
_LACKING = {("onnxruntime", "bf16")}


def main(words: Sequence[str] | None = None, run: Callable[[list[str]], dict[str, Any]] | None = None) -> int:
    """Measure and write; the exit code."""
    given, failed = _arguments(words), 0
    for command in [] if given.show else commands(given):
        print("resnest-edge " + " ".join(command), file=sys.stderr, flush=True)
        try:
            add(record_of((run or tune)(command)), given.table)
        except subprocess.CalledProcessError as exc:  # it has said why; the others are measured all the same
            print(f"exit code {exc.returncode}: not in the table", file=sys.stderr, flush=True)
            failed += 1
    print(render(shipped_records(given.table)))
    return 1 if failed else 0


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--precision", action="append", choices=PRECISIONS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--force", action="store_true", help="measure again what tune has in its cache")
    parser.add_argument("--show", action="store_true", help="print the table, measuring nothing")
    parser.add_argument("--table", type=Path, default=SHIPPED, help="default: the one that ships")
    return parser.parse_args(words)


def commands(given: argparse.Namespace) -> list[list[str]]:
    """The arguments of every `resnest-edge` that the table takes."""
    cells = product(given.networks, given.precision or PRECISIONS, given.target or TARGETS)
    return [
        [
            *("tune", network, "--weights", "none", "--image-size", str(given.image_size)),
            *("--target", target, "--precision", precision, "--batch", str(given.batch)),
            *("--rounds", str(given.rounds), "--seconds", str(given.seconds)),
            *(_FEW_PICTURES if precision == "int8" else ()),
            *(("--force",) if given.force else ()),
            "--json",
        ]
        for network, precision, target in cells
        if (target, precision) not in _LACKING
    ]


def tune(command: list[str]) -> dict[str, Any]:
    """Run one `tune` in a process of its own; its progress goes to stderr."""
    ran = subprocess.run([sys.executable, "-m", "resnest_edge", *command], stdout=subprocess.PIPE, check=True)
    value: dict[str, Any] = json.loads(ran.stdout)
    return value


def add(record: Record, table: Path) -> None:
    """Write one entry into the table, in the place of the one that it supersedes."""
    others = [known for known in shipped_records(table) if _place(known) != _place(record)]
    entries = [known.to_json() for known in sorted([*others, record], key=_place)]
    text = json.dumps({"schema": SCHEMA, "records": entries}, indent=1, allow_nan=False) + "\n"
    write_atomically(table, text.encode())


def _place(record: Record) -> tuple[str, int, str, str, int, str]:
    key = record.key
    return key.network, key.image_size, key.target, key.precision, key.batch, key.device.kind


def render(records: Sequence[Record]) -> str:
    """The table as Markdown, by device: what was chosen, its time as a share of split's, and every candidate's."""
    devices = dict.fromkeys(record.key.device for record in records)
    return "\n\n".join(_device(device, [one for one in records if one.key.device == device]) for device in devices)


def _device(device: Device, records: Sequence[Record]) -> str:
    lines = [f"### {device.name}, {device.cores} cores: {device.kind}", ""]
    lines += ["| network | pixels | target | precision | chosen | of split's time (95 %) |", "|---" * 6 + "|"]
    for record in records:
        key, bounds = record.key, record.ratio_ci95
        gain = "–" if bounds is None else f"{record.ratio:.3f} ({bounds[0]:.3f} to {bounds[1]:.3f})"
        lines.append(
            f"| {key.network} | {key.image_size} | {key.target} {key.runtime} | {key.precision} "
            f"| {record.form} | {gain} |"
        )
    lines += ["", "| network | target | varied | candidate | ms | incumbent, ms | ratio (95 %) | |", "|---" * 8 + "|"]
    lines += [_line(record, trial) for record in records for trial in record.trials]
    return "\n".join(lines)


def _line(record: Record, trial: Trial) -> str:
    low, high = trial.ratio_ci95
    cells = (
        record.key.network,
        f"{record.key.target} {record.key.precision}",
        trial.axis,
        trial.form,
        f"{trial.ms:.2f}",
        f"{trial.against_ms:.2f}",
        f"{trial.ratio:.3f} ({low:.3f} to {high:.3f})",
        "chosen" if trial.chosen else trial.why,
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
