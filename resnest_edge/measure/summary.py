"""From raw slices of time to percentiles, throughput, its spread, ratios and warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from resnest_edge.measure.power import Energy, PowerSource, mean_watts
from resnest_edge.measure.power_state import state_warnings
from resnest_edge.measure.statistics import Bounds, bootstrap_ratio

BUSY_SHARE = 0.05
"""Share of the cores that others may have while something is measured."""

BUSY_LOAD_PER_CORE = 0.5
"""Load average per core from which on a machine counts as busy, where that share cannot be told."""

UNSTABLE_CV = 0.025
"""Coefficient of variation above which a measurement counts as unstable: trtexec's threshold."""

GRID = (0, 1, 5, *range(10, 100, 10), 95, 98, 99, 99.5, 99.9, 100)
"""Percents of inferences at which the distribution of latencies is kept."""

_FEW_SAMPLES = 100  # below this, p99 is little more than the largest sample


@dataclass(frozen=True)
class Slice:
    """One uninterrupted measurement: latencies of its inferences, time from first submit to last result, images.

    ``energy`` is what the machine's counter told meanwhile, where there is one.
    """

    latencies_ms: list[float]
    seconds: float
    images: int
    energy: Energy | None = None

    @property
    def images_per_second(self) -> float:
        """Images answered over the time it took."""
        return self.images / self.seconds


@dataclass(frozen=True)
class BenchmarkResult:
    """One bundle at one batch size and number of streams.

    Attributes:
        bundle: name.
        target: the runtime.
        precision: of the typed graph.
        batch: images per inference.
        streams: inferences in flight.
        latency_ms: submit to result of one inference, over all rounds: mean, p50, p90, p95, p99, in milliseconds.
        latency_distribution: the same latencies as two lists: ``percents`` of inferences (:data:`GRID`), and the
            ``milliseconds`` within which so many were answered; 0 is the quickest, 100 the slowest.
        images_per_second: all images over all the time they took.
        images_per_second_ci95: its 95 % interval, from the rounds' spread; None for a single round.
        rounds_images_per_second: of each round alone, in the order they ran.
        cv: coefficient of variation of the rounds' throughput, a fraction; None for a single round.
        peak_rss_mib: most memory the bundle's process held, with a session loaded for every batch size and streams.
        samples: inferences.
        rounds: slices of time.
        load_seconds: time to load the session; a process's first includes importing the runtime.
        settings: what the runtime reports.
        timings_ms: medians of the runtime's own clocks, under its names.
        power_w: mean power while it ran; None where nothing tells it.
        images_per_joule: images per second over that power.
        power_source: what told the power, and of what; None where nothing does.
        power_reason: why nothing does.
        trtexec: the command that repeats the figure with the runtime's own tool; None for runtimes without one.
    """

    bundle: str
    target: str
    precision: str
    batch: int
    streams: int
    latency_ms: dict[str, float]
    images_per_second: float
    cv: float | None
    peak_rss_mib: float
    samples: int
    rounds: int
    load_seconds: float
    settings: dict[str, Any]
    timings_ms: dict[str, float]
    power_w: float | None = None
    images_per_joule: float | None = None
    power_source: str | None = None
    power_reason: str | None = None
    trtexec: str | None = None
    images_per_second_ci95: Bounds | None = None
    rounds_images_per_second: tuple[float, ...] = ()
    latency_distribution: dict[str, list[float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Ratio:
    """How many times the reference's throughput a bundle has, taken within each round.

    Attributes:
        bundle: name.
        reference: name of the first bundle.
        batch: images per inference.
        streams: inferences in flight.
        speedup: median, min, q25, q75 and max over the rounds; above 1 the bundle is faster.
    """

    bundle: str
    reference: str
    batch: int
    streams: int
    speedup: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def summarise(
    bundle: str,
    target: str,
    cell: tuple[int, int],
    slices: Sequence[Slice],
    loaded: Mapping[str, Any],
    final: Mapping[str, Any],
    place: int,
    power: PowerSource | None = None,
) -> BenchmarkResult:
    """Pool the slices of one bundle and (batch, streams).

    Args:
        bundle: name.
        target: the runtime.
        cell: (batch, streams).
        slices: at least one, one a round.
        loaded: the worker's answer to loading this cell.
        final: the worker's last answer.
        place: which of the worker's cells this is.
        power: what told the slices' energy, or why nothing did.
    """
    watts = mean_watts([part.energy for part in slices])
    speed = sum(part.images for part in slices) / sum(part.seconds for part in slices)
    latencies = np.concatenate([np.asarray(part.latencies_ms) for part in slices])
    return BenchmarkResult(
        bundle=bundle,
        target=target,
        precision=loaded["precision"],
        batch=cell[0],
        streams=cell[1],
        latency_ms=percentiles(latencies.tolist()),
        images_per_second=speed,
        cv=variation([part.images_per_second for part in slices]),
        peak_rss_mib=final["peak_rss_mib"],
        samples=len(latencies),
        rounds=len(slices),
        load_seconds=loaded["load_seconds"],
        settings=loaded["settings"],
        timings_ms=final["timings"][place],
        power_w=watts,
        images_per_joule=speed / watts if watts else None,
        power_source=power.source if power else None,
        power_reason=power.reason if power else None,
        images_per_second_ci95=bootstrap_ratio([part.images for part in slices], [part.seconds for part in slices]),
        rounds_images_per_second=tuple(part.images_per_second for part in slices),
        latency_distribution=distribution(latencies.tolist()),
    )


def percentiles(latencies_ms: Sequence[float]) -> dict[str, float]:
    """Mean, p50, p90, p95 and p99, interpolated linearly between samples."""
    p50, p90, p95, p99 = np.percentile(latencies_ms, [50, 90, 95, 99]).tolist()
    return {"mean": float(np.mean(latencies_ms)), "p50": p50, "p90": p90, "p95": p95, "p99": p99}


def distribution(latencies_ms: Sequence[float]) -> dict[str, list[float]]:
    """The latencies at every percent of :data:`GRID`, interpolated linearly between samples."""
    values = np.percentile(latencies_ms, GRID).tolist()
    return {"percents": [float(percent) for percent in GRID], "milliseconds": [round(value, 5) for value in values]}


def variation(values: Sequence[float]) -> float | None:
    """Sample standard deviation over mean; None for fewer than two values."""
    return None if len(values) < 2 else float(np.std(values, ddof=1) / np.mean(values))


def ratios(
    names: Sequence[str], cells: Sequence[tuple[int, int]], slices: Mapping[tuple[int, int], Sequence[Slice]]
) -> Iterator[Ratio]:
    """Throughput of every bundle but the first against the first, paired by round.

    Args:
        names: the bundles.
        cells: every (batch, streams).
        slices: of each (index in ``names``, index in ``cells``), in the order of the rounds.
    """
    for index, name in list(enumerate(names))[1:]:
        for place, (batch, streams) in enumerate(cells):
            pairs = zip(slices[index, place], slices[0, place], strict=True)
            values = [ours.images_per_second / theirs.images_per_second for ours, theirs in pairs]
            low, q25, median, q75, high = np.percentile(values, [0, 25, 50, 75, 100]).tolist()
            spread = {"median": median, "min": low, "q25": q25, "q75": q75, "max": high}
            yield Ratio(name, names[0], batch, streams, spread)


def find_warnings(results: Sequence[BenchmarkResult], conditions: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader of these numbers has to know, as sentences without a final full stop."""
    found = []
    load, cores, others = conditions["load_average"], conditions["cores"], conditions.get("other_work_cores")
    if others is not None and others > BUSY_SHARE * cores:
        found.append(f"Other work had {others:.2f} of the {cores} cores on average while this was measured")
    if others is None and load > BUSY_LOAD_PER_CORE * cores:
        found.append(f"The machine was busy when the measurement began: load average {load:.2f} on {cores} cores")
    found += state_warnings(conditions.get("power", {}))
    unstable = [
        (result.cv, describe_result(result)) for result in results if result.cv is not None and result.cv > UNSTABLE_CV
    ]
    if unstable:
        cv, where = max(unstable)
        found.append(
            f"Throughput varies by more than {100 * UNSTABLE_CV:.1f} % from round to round in {len(unstable)} of "
            f"{len(results)} measurements, most in {where}: by {100 * cv:.1f} %; ratios are taken within a round"
        )
    few = [(result.samples, describe_result(result)) for result in results if result.samples < _FEW_SAMPLES]
    if few:
        samples, where = min(few)
        found.append(
            f"p99 rests on fewer than {_FEW_SAMPLES} inferences in {len(few)} of {len(results)} measurements, "
            f"fewest in {where}: on {samples}"
        )
    return tuple(found)


def describe_result(result: BenchmarkResult) -> str:
    """Which bundle, batch size and streams a result is of, for a sentence."""
    streams = "" if result.streams == 1 else f", {result.streams} streams"
    return f"{result.bundle} at batch {result.batch}{streams}"
