"""INT8 under a bound: the layers that hurt most for the speed they bring go back to float until the drop holds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from resnest_edge.errors import GateError, UnavailableError, UsageError
from resnest_edge.images import ImageSet
from resnest_edge.pipeline.making import Made, Maker
from resnest_edge.pipeline.pictures import spread
from resnest_edge.pipeline.plan import Job
from resnest_edge.search.sensitivity import by_harm_per_cost, layer_effects

_SENSITIVITY_IMAGES = 32
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Trial:
    """One engine that was built and measured.

    Attributes:
        kept: layers left in float.
        drop: measured against FP32, percentage points.
        upper: end of its 95 % interval.
        holds: whether the bound held.
    """

    kept: int
    drop: float
    upper: float
    holds: bool


@dataclass(frozen=True)
class HoldDrop:
    """Makes an INT8 bundle whose measured drop stays within a bound; a ``Settle`` of ``pipeline.build``.

    Attributes:
        bound: largest drop, percentage points.
        confident: hold the upper end of the drop's 95 % interval to the bound, not the drop itself.
    """

    bound: float
    confident: bool = False

    def __call__(self, job: Job, maker: Maker) -> Made:
        """Measure with all layers in INT8, then with as few in float as it takes.

        Raises:
            UsageError: there are no labelled images to measure the drop on.
            UnavailableError: the target cannot run here, so nothing can be measured.
            GateError: the bound does not hold with every layer in float.
        """
        if maker.reference is None or maker.reference.labels is None:
            raise UsageError("--max-drop needs labelled images to measure on", hint="Give --eval-images DIR.")
        with tempfile.TemporaryDirectory() as scratch:
            search = _Search(self, job, maker, Path(scratch))
            keep, made, layers = search.run()
        trace = [asdict(trial) for trial in search.trace]
        record = {"max_drop": {"bound": self.bound, "confident": self.confident, "kept": layers, "trace": trace}}
        final = maker.make(job, keep, record=record, known=made)
        return replace(final, measured={**final.measured, **record})


class _Search:
    """One job's trials."""

    def __init__(self, rule: HoldDrop, job: Job, maker: Maker, scratch: Path) -> None:
        self._rule, self._job, self._maker, self._scratch = rule, job, maker, scratch
        self.trace: list[Trial] = []

    def run(self) -> tuple[frozenset[str], Made, list[str]]:
        whole, holds = self._try([])
        if holds:
            return frozenset(), whole, []
        probe = self._maker.prepared.probe(self._job, spread(self._images(), _SENSITIVITY_IMAGES))
        order = [effect.layer for effect in by_harm_per_cost(layer_effects(probe, progress=self._maker.progress))]
        count, made = fewest(len(order), lambda kept: self._try(order[:kept]))
        if made is None:
            worst = self.trace[-1]
            raise GateError(
                f"a drop of {self._rule.bound:g} points cannot be held: with every layer in float it is "
                f"{worst.drop:.2f} ({worst.upper:.2f} at the end of its 95 % interval)",
                hint="Measure on more images, or allow more.",
            )
        return frozenset(order[:count]), made, order[:count]

    def _images(self) -> ImageSet:
        images = self._maker.pictures.calibration or self._maker.pictures.evaluation
        if images is None:
            raise UsageError("--max-drop needs images", hint="Give --images DIR.")
        return images

    def _try(self, layers: list[str]) -> tuple[Made, bool]:
        out = self._scratch / f"{len(self.trace)}"
        made = self._maker.make(replace(self._job, out=out), frozenset(layers))
        drop, interval = made.measured["drop"], made.measured["drop_ci95"]
        if drop is None or interval is None:
            raise UnavailableError(
                f"the drop cannot be measured here ({made.measured.get('reason', 'no labels')})",
                hint="Leave --max-drop out, or build where the target runs.",
            )
        holds = (interval[1] if self._rule.confident else drop) <= self._rule.bound
        self.trace.append(Trial(len(layers), drop, interval[1], holds))
        self._maker.progress(f"max-drop: {len(layers)} layers in float, drop {drop:+.2f}", 1, 1)
        return made, holds


def fewest(total: int, attempt: Callable[[int], tuple[_Made, bool]]) -> tuple[int, _Made | None]:
    """The smallest count from 1 to ``total`` that holds, by doubling and then halving.

    Assumes that more layers in float never hurt; where measurement noise breaks that, what is returned has held all the
    same.

    Returns:
        The count and what ``attempt`` made of it; ``(total, None)`` where not even ``total`` holds.
    """
    failed, count = 0, 1
    while True:
        count = min(count, total)
        made, holds = attempt(count)
        if holds:
            break
        if count == total:
            return total, None
        failed, count = count, count * 2
    while count - failed > 1:
        middle = (failed + count) // 2
        trial, holds = attempt(middle)
        if holds:
            count, made = middle, trial
        else:
            failed = middle
    return count, made
