"""Latency and throughput of several bundles, measured interleaved: one process each, one at work at a time.

A machine's speed drifts (clocks, heat, neighbours), so bundles measured one after the other are not comparable. Here
every round gives each bundle a slice of time for each batch size and number of streams, close together and in an order
drawn anew; a ratio is taken within a round, where the drift is the same for both.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from resnest_edge.errors import UsageError
from resnest_edge.measure.frames import Frames
from resnest_edge.measure.other_work import CoreWatch
from resnest_edge.measure.power import Sampler
from resnest_edge.measure.power_sources import find_meter
from resnest_edge.measure.power_state import power_state
from resnest_edge.measure.process import WorkerProcess
from resnest_edge.measure.summary import BenchmarkResult, Ratio, Slice, find_warnings, ratios, summarise

Progress = Callable[[int, int], None]
"""Told how many steps are done, and how many there are."""


@dataclass(frozen=True)
class Subject:
    """A bundle to measure.

    Attributes:
        name: in the results.
        path: its folder.
        target: its runtime.
        known: what the opener is told of it beside the session's options, by keyword; plain values.
    """

    name: str
    path: Path
    target: str
    known: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long.

    Attributes:
        batches: batch sizes; every bundle is measured at each.
        streams: numbers of inferences in flight; each is combined with each batch size.
        threads: CPU threads of a session; None means every core this process may use.
        rounds: how often every bundle gets its slices.
        seconds: length of one slice.
        warmup: seconds that every session runs, uncounted, before the first round.
        seed: of the order within the rounds, and of the random frames.
        timeout: seconds a worker may take to load, or beyond a slice's length, before it counts as hung.
    """

    batches: tuple[int, ...] = (1,)
    streams: tuple[int, ...] = (1,)
    threads: int | None = None
    rounds: int = 10
    seconds: float = 1.0
    warmup: float = 1.0
    seed: int = 0
    timeout: float = 600.0

    def __post_init__(self) -> None:
        counts = {"batch size": self.batches, "number of streams": self.streams, "number of rounds": (self.rounds,)}
        for name, values in counts.items():
            if not values or min(values) < 1:
                raise UsageError(f"a {name} must be at least 1, not {list(values)}")
        if self.seconds <= 0 or self.warmup < 0:
            raise UsageError(f"slices of {self.seconds} s after {self.warmup} s of warm-up cannot be measured")

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """Every (batch, streams) once, in the order given."""
        return tuple(dict.fromkeys(product(self.batches, self.streams)))


@dataclass(frozen=True)
class Benchmark:
    """What was measured, under which conditions, and what makes it doubtful.

    Attributes:
        results: one for each bundle, batch size and number of streams.
        ratios: throughput against the first bundle.
        conditions: the plan, the cores, the load before the start and the cores that other work had meanwhile (None
            where that cannot be told), and what the engines were fed.
        warnings: sentences.
    """

    results: tuple[BenchmarkResult, ...]
    ratios: tuple[Ratio, ...]
    conditions: dict[str, Any]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values under the keys of ``benchmark --json``."""
        return {
            "results": [result.to_json() for result in self.results],
            "ratios": [ratio.to_json() for ratio in self.ratios],
            "conditions": self.conditions,
            "warnings": list(self.warnings),
        }


def benchmark(
    subjects: Sequence[Subject],
    plan: Plan,
    *,
    opener: str,
    frames: Frames | None = None,
    on_progress: Progress | None = None,
) -> Benchmark:
    """Measure bundles side by side, interleaved.

    Args:
        subjects: the bundles; ratios are against the first.
        plan: batch sizes, streams and durations.
        opener: ``module:function`` that a worker imports to load a bundle:
            ``(Path, SessionOptions, **known) -> Session``.
        frames: pictures to feed, (N, S, S, 3) uint8 RGB of the engines' size; None means noise.
        on_progress: told after each step; loading one session is a step, and so is one slice.

    Raises:
        UsageError: no bundles, or two of one name; an engine does not take a batch size.
        InputError: the frames are not of an engine's size.
        BundleError: a bundle cannot be loaded; its process died or hung.
    """
    names, conditions = _names(subjects), _conditions(plan, frames)
    steps = _Steps(len(names) * len(plan.cells) * (1 + plan.rounds), on_progress)
    with contextlib.ExitStack() as stack:
        saved = stack.enter_context(_saved(frames))
        workers = [stack.enter_context(WorkerProcess(name)) for name in names]
        meters = _meters(subjects, stack)
        pairs = zip(workers, subjects, strict=True)
        loaded = [_load(worker, subject, plan, opener, saved, steps) for worker, subject in pairs]
        watch = CoreWatch([worker.pid for worker in workers], conditions["affinity"])
        slices = _rounds(workers, plan, steps, meters)
        conditions["other_work_cores"] = watch.others()
        final = [worker.ask({"do": "finish"}, plan.timeout) for worker in workers]
        powers = [meter.told() for meter in meters]
    results = tuple(
        summarise(
            subject.name, subject.target, cell, slices[index, place], loaded[index][place], final[index], place, told
        )
        for index, (subject, told) in enumerate(zip(subjects, powers, strict=True))
        for place, cell in enumerate(plan.cells)
    )
    return Benchmark(results, tuple(ratios(names, plan.cells, slices)), conditions, find_warnings(results, conditions))


def _names(subjects: Sequence[Subject]) -> list[str]:
    names = [subject.name for subject in subjects]
    if not names or len(set(names)) < len(names):
        raise UsageError(f"there must be bundles to measure, each under a name of its own, not {names}")
    return names


class _Steps:
    def __init__(self, total: int, on_progress: Progress | None) -> None:
        self._done, self._total, self._on_progress = 0, total, on_progress

    def one_more(self) -> None:
        self._done += 1
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)


def _conditions(plan: Plan, frames: Frames | None) -> dict[str, Any]:
    affinity = sorted(os.sched_getaffinity(0))
    return {
        "rounds": plan.rounds,
        "slice_seconds": plan.seconds,
        "warmup_seconds": plan.warmup,
        "seed": plan.seed,
        "threads": plan.threads,
        "cores": len(affinity),
        "affinity": affinity,
        "load_average": round(os.getloadavg()[0], 2),
        "input": "random" if frames is None else f"{len(frames)} images",
        "power": power_state(),
    }


def _meters(subjects: Sequence[Subject], stack: contextlib.ExitStack) -> list[Sampler]:
    """A power sampler for each bundle: one for all that run on the GPU, one for all that run on the CPU."""
    samplers: dict[bool, Sampler] = {}
    for subject in subjects:
        gpu = subject.target.startswith("tensorrt")
        if gpu not in samplers:
            samplers[gpu] = stack.enter_context(Sampler(*find_meter(gpu)))
    return [samplers[subject.target.startswith("tensorrt")] for subject in subjects]


@contextlib.contextmanager
def _saved(frames: Frames | None) -> Iterator[str | None]:
    """A file the workers read the frames from, gone afterwards."""
    if frames is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="resnest-edge-") as folder:
        path = Path(folder) / "frames.npy"
        np.save(path, frames, allow_pickle=False)
        yield str(path)


def _load(
    worker: WorkerProcess, subject: Subject, plan: Plan, opener: str, frames: str | None, steps: _Steps
) -> list[dict[str, Any]]:
    """Load one session a cell, one after the other so that load times do not disturb each other, and warm it up."""
    opened = []
    for cell, (batch, streams) in enumerate(plan.cells):
        request = {"do": "open", "opener": opener, "bundle": str(subject.path), "batch": batch, "streams": streams}
        request.update(threads=plan.threads, frames=frames, seed=plan.seed, known=dict(subject.known))
        opened.append(worker.ask(request, plan.timeout))
        if plan.warmup > 0:
            _slice(worker, cell, plan.warmup, plan.timeout)
        steps.one_more()
    return opened


def _rounds(
    workers: Sequence[WorkerProcess], plan: Plan, steps: _Steps, meters: Sequence[Sampler]
) -> dict[tuple[int, int], list[Slice]]:
    """Measure; the slices of each (bundle, cell), one a round."""
    slices: dict[tuple[int, int], list[Slice]] = {
        key: [] for key in product(range(len(workers)), range(len(plan.cells)))
    }
    order = np.random.default_rng(plan.seed)
    for _ in range(plan.rounds):
        for cell in order.permutation(len(plan.cells)).tolist():
            for index in order.permutation(len(workers)).tolist():
                mark = meters[index].mark()
                measured = _slice(workers[index], cell, plan.seconds, plan.timeout)
                slices[index, cell].append(replace(measured, energy=meters[index].since(mark)))
                steps.one_more()
    return slices


def _slice(worker: WorkerProcess, cell: int, seconds: float, timeout: float) -> Slice:
    return Slice(**worker.ask({"do": "slice", "cell": cell, "seconds": seconds}, seconds + timeout))
