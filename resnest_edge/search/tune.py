"""The fastest of the equal ways to write a network, by coordinate descent: one axis at a time, measured on the device.

A candidate replaces the incumbent only where the 95 % interval of its time, paired by round, ends below 0.99 of the
incumbent's. Many comparisons find a lucky one, so what was chosen is measured once more against what the search began
with, and kept only where it is faster again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from resnest_edge.measure.statistics import Bounds, median_interval
from resnest_edge.pipeline.choice import Choice
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.pipeline.tunings import Trial

NOISE = 0.01
"""A gain of less than this share of the time counts as none."""
TOGETHER = "all together"


@dataclass(frozen=True)
class Timing:
    """One choice in one interleaved run.

    Attributes:
        ms: median latency of a batch.
        rates: images per second of each round, in the order of the rounds.
    """

    ms: float
    rates: tuple[float, ...]


@dataclass(frozen=True)
class Change:
    """Logit SQNR of a choice minus that of what the search began with, dB, and its 95 % interval over images."""

    db: float
    ci95: Bounds


class Bench(Protocol):
    """Measures choices on the device."""

    def time(self, choices: Sequence[Choice]) -> list[Timing]:
        """Time choices side by side, interleaved, in one run of as many rounds for each."""
        ...

    def change(self, choice: Choice) -> Change | None:
        """What a choice does to the answers; None where nothing is quantized."""
        ...


@dataclass(frozen=True)
class Axis:
    """One thing that is varied while the rest stays.

    Attributes:
        name: in tables.
        rivals: the candidates to replace an incumbent; may be none.
        placement: whether they differ in their placement, so that accuracy must be shown to hold.
    """

    name: str
    rivals: Callable[[Choice], Sequence[Choice]]
    placement: bool = False


@dataclass(frozen=True)
class Tuned:
    """What the search came to.

    Attributes:
        choice: the fastest.
        trials: everything that was compared, in order.
        ratio: its time as a share of what the search began with, and the interval; None where that was kept.
    """

    choice: Choice
    trials: tuple[Trial, ...]
    ratio: tuple[float, Bounds] | None


def tune(
    start: Choice, axes: Sequence[Axis], bench: Bench, *, max_loss: float | None = None, progress: Progress = silent
) -> Tuned:
    """Search from ``start``, axis by axis.

    Args:
        start: what is replaced only by what is measurably faster.
        axes: in the order they are tried.
        bench: measures.
        max_loss: decibels of logit SQNR that the choice may lose against ``start``; None allows none that can be
            measured, and no placement at all.
        progress: told of each axis.
    """
    incumbent = start
    trials: list[Trial] = []
    for done, axis in enumerate(axes):
        progress("tune", done, len(axes))
        rivals = [rival for rival in axis.rivals(incumbent) if rival != incumbent]
        if not rivals:
            continue
        compared = _compare(axis, incumbent, rivals, bench, max_loss)
        winner = next((rival for rival, trial in zip(rivals, compared, strict=True) if trial.chosen), None)
        trials += compared
        incumbent = winner or incumbent
    ratio = None
    if incumbent != start:
        again = _compare(Axis(TOGETHER, lambda _: ()), start, [incumbent], bench, max_loss, known=True)[0]
        trials.append(again)
        incumbent, ratio = (incumbent, (again.ratio, again.ratio_ci95)) if again.chosen else (start, None)
    progress("tune", len(axes), len(axes))
    return Tuned(incumbent, tuple(trials), ratio)


def _compare(
    axis: Axis,
    incumbent: Choice,
    rivals: Sequence[Choice],
    bench: Bench,
    max_loss: float | None,
    *,
    known: bool = False,
) -> list[Trial]:
    """Time the rivals beside the incumbent; the fastest of those that may replace it is chosen.

    ``known`` says that their answers have been judged already.
    """
    base, *timings = bench.time([incumbent, *rivals])
    paired = [_ratio(timing, base) for timing in timings]
    changes = [None if known else bench.change(rival) for rival in rivals]
    refusals = [_refusal(ratio, change, axis, max_loss) for ratio, change in zip(paired, changes, strict=True)]
    fit = [index for index, refusal in enumerate(refusals) if refusal is None]
    best = min(fit, key=lambda index: paired[index][0], default=None)
    return [
        Trial(
            axis=axis.name,
            form=str(rival.form),
            placement=rival.placement,
            against_form=str(incumbent.form),
            against_placement=incumbent.placement,
            ms=timing.ms,
            against_ms=base.ms,
            ratio=ratio,
            ratio_ci95=bounds,
            sqnr_change_db=change.db if change else None,
            sqnr_change_ci95=change.ci95 if change else None,
            chosen=index == best,
            why=refusal or ("the fastest" if index == best else "faster, but not the fastest"),
        )
        for index, (rival, timing, (ratio, bounds), change, refusal) in enumerate(
            zip(rivals, timings, paired, changes, refusals, strict=True)
        )
    ]


def _ratio(candidate: Timing, incumbent: Timing) -> tuple[float, Bounds]:
    """Time of the candidate as a share of the incumbent's: median over rounds, with its interval."""
    pairs = zip(candidate.rates, incumbent.rates, strict=True)
    return median_interval([theirs / ours for ours, theirs in pairs])


def _refusal(ratio: tuple[float, Bounds], change: Change | None, axis: Axis, max_loss: float | None) -> str | None:
    """Why a candidate does not replace the incumbent; None where it may.

    A form computes the same, so it is refused only where INT8 makes it measurably worse than allowed. A placement
    computes something else, so it has to be shown to stay within what is allowed.
    """
    median, (low, high) = ratio
    if change is not None and change.ci95[0 if axis.placement else 1] < -(max_loss or 0.0):
        return f"loses {-change.db:.1f} dB" if change.db < 0 else "may lose more than is allowed"
    if high < 1 - NOISE:
        return None
    if low > 1 + NOISE:
        return "slower"
    return "no faster than noise" if median < 1 else "not faster"
