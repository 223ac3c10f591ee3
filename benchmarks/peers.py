"""ResNeSt as others run it and as we do, side by side: latency and throughput.

    python -m benchmarks.peers resnest50 --weights W --image-size 224 --images train/ --out reports/peers/resnest50
    python -m benchmarks.peers resnest14d                          # random weights: enough to measure speed
    python -m benchmarks.peers resnest14d --engines E --make-only  # now make them, and measure on a free machine:
    python -m benchmarks.peers resnest14d --engines E --batch 1 --streams 1

Each engine has a process of its own, one is at work at a time, and a ratio is taken within a round, so that a machine
whose speed drifts does not decide. Each batch size and number of streams is one such run of all engines, kept as soon
as it is done: the same command goes on with those that are missing. Others get the network as trained, exported as
they would export it; all take the same uint8 frames. A peer that is not installed or fails is a row with the reason.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks.peer_engines import Made, Workshop, chosen, kept_frames
from benchmarks.peer_sessions import OPENER
from benchmarks.peer_table import render
from benchmarks.running import CellRuns, EngineFolder, exiting, machine, measure_cell, positive
from resnest_edge.files import write_text


@dataclass(frozen=True)
class Given:
    """The command line."""

    made: Made
    cells: tuple[tuple[int, int], ...]
    rounds: int
    seconds: float
    only: tuple[str, ...]
    engines: Path | None
    make_only: bool
    force: bool
    out: Path


def main() -> None:
    """Make every engine that is not there, measure, print and write the table."""
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="resnest-edge-peers-") as scratch:
        kept = EngineFolder(given.engines or Path(scratch) / "engines", given.made.identity())
        wanted = chosen(given.only)
        Workshop(given.made, kept).make(wanted)
        if not given.make_only:
            _measure(given, kept, wanted)


def _measure(given: Given, kept: EngineFolder, wanted: list[tuple[str, str]]) -> None:
    subjects = kept.subjects(wanted)
    names = {name for name, _ in wanted}
    head = {
        **kept.notes,
        "weights": "random" if given.made.weights == "none" else "trained",
        "machine": machine(),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "engines": [subject.name for subject in subjects],
        "failed": {name: reason for name, reason in kept.failed.items() if name in names},
    }
    runs = CellRuns(given.out / "peers.json", head, force=given.force)
    frames = kept_frames(kept)
    for cell in runs.missing(given.cells):
        runs.add(cell, measure_cell(subjects, cell, given.rounds, given.seconds, OPENER, frames))
    text = render(runs.value)
    write_text(given.out / "peers.md", text)
    print(text)


def _arguments() -> Given:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="resnest50")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--images", default="demo:train", help="calibration pictures; the demo's scenes if left out")
    parser.add_argument("--calib-images", type=int, default=64)
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--streams", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--only", action="append", default=[], help="only engines whose name holds this")
    parser.add_argument("--engines", type=Path, help="folder that keeps the engines; made anew each time if left out")
    parser.add_argument("--make-only", action="store_true", help="make the engines into --engines, and stop")
    parser.add_argument("--force", action="store_true", help="measure anew what --out holds")
    parser.add_argument("--out", type=Path)
    said = parser.parse_args()
    if said.make_only and said.engines is None:
        parser.error("--make-only needs --engines DIR, which keeps what is made")
    cells = product(positive(said.batch, (1, 8), "batch size"), positive(said.streams, (1, 2), "number of streams"))
    return Given(
        Made(said.what, said.weights, said.image_size, said.images, said.calib_images),
        tuple(cells),
        said.rounds,
        said.seconds,
        tuple(said.only),
        said.engines,
        said.make_only,
        said.force,
        said.out or Path("reports/peers") / said.what,
    )


if __name__ == "__main__":
    exiting(main)
