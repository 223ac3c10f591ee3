"""``python -m tests.fuzz``: fuzz every reader, and say what was read (``make fuzz`` writes it to reports/fuzz.log).

Hypothesis draws the seed of each input. Every reader has a process of its own: a crash of native code or a hang is
found by its parent, and the input is kept.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import importlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from time import perf_counter
from typing import cast

import hypothesis
from hypothesis import strategies as st

from tests.fuzz.outcome import Outcome, Reader

READERS = {
    "manifest": "tests.fuzz.manifests:Manifests",
    "scales": "tests.fuzz.scales:ScalesFiles",
    "list": "tests.fuzz.lists:Lists",
    "onnx": "tests.fuzz.models:Models",
}
HANG_SECONDS = 120.0
"""Longer than any input may take: then the process says where it stands, and ends."""


def open_reader(name: str, folder: Path) -> Reader:
    """One of ``READERS``, with its files in ``folder``."""
    module, _, kind = READERS[name].partition(":")
    return cast(Reader, getattr(importlib.import_module(module), kind)(folder))


def fuzz(reader: Reader, inputs: int, seed: int, last: Path) -> Counter[str]:
    """Read ``inputs`` mutated files; how far they came, and how many of them were different from all others.

    Args:
        reader: what reads.
        inputs: how many.
        seed: Hypothesis's.
        last: holds the seed of the input being read, for whoever finds this process dead.

    Raises:
        Exception: the first error that a reader lets escape, with the seed of its input in a note.
    """
    counts: Counter[str] = Counter()
    seen: set[bytes] = set()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
    )
    @hypothesis.given(st.integers(0, 2**64 - 1))
    def read(number: int) -> None:
        last.write_text(str(number), encoding="ascii")
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        try:
            data, outcome = reader.check(Random(number))
        finally:  # else an error ends whoever called, two minutes later and without a word
            faulthandler.cancel_dump_traceback_later()
        counts[outcome.value] += 1
        seen.add(hashlib.sha256(data).digest())

    read()
    counts["different"] = len(seen)
    return counts


def _child(name: str, inputs: int, seed: int, folder: Path) -> None:
    counts = fuzz(open_reader(name, folder / "files"), inputs, seed, folder / "last")
    print(json.dumps(counts))


def _parent(name: str, inputs: int, seed: int) -> str:
    """One reader's line of the log.

    Raises:
        SystemExit: an input was answered by another error, a crash or a hang; too few came past the first parser.
    """
    started = perf_counter()
    with tempfile.TemporaryDirectory(prefix="resnest-edge-fuzz-") as scratch:
        command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz", "--child", scratch, "--reader", name]
        command += ["--inputs", str(2 * inputs), "--seed", str(seed)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            last = Path(scratch, "last").read_text(encoding="ascii")
            sys.exit(f"{ran.stderr}\n{name}: exit status {ran.returncode} on the input of Random({last})")
    counts = Counter(json.loads(ran.stdout))
    total = sum(counts[outcome.value] for outcome in Outcome)
    past = counts[Outcome.REFUSED.value] + counts[Outcome.ACCEPTED.value]
    line = (
        f"{name:<9} {total:>7} inputs ({counts['different']} different)  {counts['unparsed']:>6} stopped by the first "
        f"parser  {counts['refused']:>6} refused behind it  {counts['accepted']:>6} accepted  "
        f"{100 * past / total:.1f} % past the first parser  {perf_counter() - started:.0f} s"
    )
    if counts["different"] < inputs or 2 * past < total:
        sys.exit(f"{line}\n{name}: fewer than {inputs} different inputs, or fewer than half past the first parser")
    return line


def main() -> None:
    """Fuzz, in processes of their own, the readers that were named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="different ones, in all; the same for every reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", choices=READERS, action="append")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.reader or list(READERS)
    if given.child is not None:
        _child(names[0], given.inputs, given.seed, given.child)
        return
    share = -(-given.inputs // len(names))  # different ones; some mutations meet
    print(f"python -m tests.fuzz --inputs {given.inputs} --seed {given.seed}", flush=True)
    for name in names:
        print(_parent(name, share, given.seed), flush=True)
    print(f"more than {share * len(names)} different inputs: no traceback, no crash, no hang of {HANG_SECONDS:.0f} s")


if __name__ == "__main__":
    main()
