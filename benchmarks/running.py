"""What the benchmarks share: engines kept in a folder, runs kept cell by cell, and errors as exit codes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnest_edge import environment
from resnest_edge.cli.console import complain
from resnest_edge.errors import InputError, ResnestEdgeError, UsageError
from resnest_edge.files import new_folder, read_json, write_text
from resnest_edge.measure.frames import Frames
from resnest_edge.measure.latency import Benchmark, Plan, Subject, benchmark

ENGINES = "engines.json"


def exiting(work: Callable[[], None]) -> None:
    """Run a benchmark; a deliberate error is one message and its exit code, as on the command line."""
    try:
        work()
    except ResnestEdgeError as exc:
        complain(str(exc))
        sys.exit(exc.exit_code)


def say(words: str) -> None:
    """Progress, on stderr."""
    print(words, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """What figures belong to: the processor and the versions of what ran on it."""
    told = environment.describe()
    return {name: told[name] for name in ("cpu", "cpu_isa", "cores", "architecture", "versions")}


class EngineFolder:
    """Engines made once and measured whenever the machine is free: each whole in a folder of its own, or a reason.

    Args:
        path: of the folder, which may not exist yet.
        identity: what the engines are made of, as plain values.

    Raises:
        InputError: the folder holds engines that were made of something else.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.identity = json.loads(json.dumps(identity))
        self.failed: dict[str, str] = {}
        self.notes: dict[str, Any] = {}
        if (path / ENGINES).exists():
            self._resume()

    def _resume(self) -> None:
        value = read_kept(self.path / ENGINES, ("identity", "failed", "notes"), "--engines")
        refuse_other(self.path / ENGINES, self.identity, value["identity"], "--engines")
        self.failed, self.notes = value["failed"], value["notes"]

    def folder(self, name: str) -> Path:
        """Where the engine of this name stands."""
        return self.path / re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()

    def has(self, name: str) -> bool:
        """Whether it was made."""
        return self.folder(name).is_dir()

    def make(self, name: str, work: Callable[[Path], Any]) -> None:
        """Make an engine that is not here yet; a program that fails is remembered with its reason, and tried again.

        Args:
            name: of the engine.
            work: writes it into a folder that does not exist yet.
        """
        if self.has(name):
            return
        say(f"make {name}")
        self.failed.pop(name, None)
        try:
            with new_folder(self.folder(name), force=False) as made:
                work(made / "engine")
        except Exception as exc:  # noqa: BLE001 - somebody else's program: its failure is its row
            text = str(exc).strip().splitlines()
            self.failed[name] = f"{type(exc).__name__}: {text[0] if text else ''}"[:160]
            say(f"  {self.failed[name]}")
        self.save()

    def save(self) -> None:
        """Write what is known of the folder into it."""
        value = {"identity": self.identity, "notes": self.notes, "failed": self.failed}
        write_text(self.path / ENGINES, json.dumps(value, indent=1) + "\n")

    def subjects(self, wanted: Sequence[tuple[str, str]]) -> list[Subject]:
        """What can be measured of (name, target) pairs, in their order."""
        return [Subject(name, self.folder(name) / "engine", target) for name, target in wanted if self.has(name)]


class CellRuns:
    """A measurement that grows cell by cell: each (batch, streams) is one interleaved run of all engines.

    Args:
        path: of its JSON.
        head: what the figures belong to; another head is refused.
        force: start anew.

    Raises:
        InputError: the file belongs to something else.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], *, force: bool = False) -> None:
        self.path = path
        self.value: dict[str, Any] = {**json.loads(json.dumps(head)), "runs": [], "results": [], "ratios": []}
        if path.exists() and not force:
            before = read_kept(path, ("runs", "results", "ratios"), "--out")
            found = {name: before.get(name) for name in self.value if name not in ("runs", "results", "ratios")}
            refuse_other(path, {name: self.value[name] for name in found}, found, "--out")
            self.value = before

    def missing(self, cells: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """The cells that were not measured yet."""
        done = {(run["batch"], run["streams"]) for run in self.value["runs"]}
        return [cell for cell in cells if cell not in done]

    def add(self, cell: tuple[int, int], measured: Benchmark) -> None:
        """Keep one run, atomically; whatever came first, smaller batches and fewer streams stand first."""
        told = measured.to_json()
        run = {"batch": cell[0], "streams": cell[1], "conditions": told["conditions"], "warnings": told["warnings"]}
        self.value["runs"].append(run)
        self.value["results"] += told["results"]
        self.value["ratios"] += told["ratios"]
        for name in ("runs", "results", "ratios"):
            self.value[name].sort(key=lambda row: (row["batch"], row["streams"]))  # stable: engines keep their order
        write_text(self.path, json.dumps(self.value, indent=1) + "\n")


def measure_cell(
    subjects: Sequence[Subject], cell: tuple[int, int], rounds: int, seconds: float, opener: str, frames: Frames | None
) -> Benchmark:
    """One interleaved run of all engines at one batch size and number of streams."""
    plan = Plan((cell[0],), (cell[1],), rounds=rounds, seconds=seconds, warmup=min(1.0, seconds))

    def tell(done: int, total: int) -> None:
        if done % 20 == 0 or done == total:
            say(f"batch {cell[0]}, streams {cell[1]}: {done} of {total}")

    return benchmark(subjects, plan, opener=opener, frames=frames, on_progress=tell)


def read_kept(path: Path, keys: Sequence[str], option: str) -> dict[str, Any]:
    """What an earlier run of a benchmark kept.

    Raises:
        InputError: the file is something else.
    """
    try:
        value = read_json(path)
        return {**value, **{key: value[key] for key in keys}}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as exc:
        words = f"no benchmark wrote this ({type(exc).__name__}: {exc})"
        raise InputError(words, where=path, hint=f"Use another {option}.") from exc


def refuse_other(where: Path, ours: Mapping[str, Any], theirs: Mapping[str, Any], option: str) -> None:
    """Refuse what was begun of something else.

    Raises:
        InputError: the two differ; it names in what.
    """
    changed = [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)]
    if changed:
        raise InputError(
            f"this was made of something else: {', '.join(changed)}", where=where, hint=f"Use another {option}."
        )


def positive(values: Sequence[int] | None, default: Sequence[int], what: str) -> tuple[int, ...]:
    """Values of a repeated option, each once.

    Raises:
        UsageError: one is below 1.
    """
    given = tuple(dict.fromkeys(values or default))
    if min(given) < 1:
        raise UsageError(f"a {what} must be at least 1, not {list(given)}")
    return given
