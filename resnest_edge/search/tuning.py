"""`tune`: what is varied for a network, measured on this device, and kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from resnest_edge import environment
from resnest_edge.errors import UsageError
from resnest_edge.forms import StageForm
from resnest_edge.images import ImageSet
from resnest_edge.measure.latency import Plan
from resnest_edge.measure.statistics import LEAST_FOR_MEDIAN
from resnest_edge.models.config import ResNeStConfig
from resnest_edge.pipeline.choice import Choice
from resnest_edge.pipeline.pictures import Pictures, spread
from resnest_edge.pipeline.plan import BuildRequest, choose_build_pictures
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.pipeline.runtimes import backend_for, default_target
from resnest_edge.pipeline.sources import Source, find_source
from resnest_edge.pipeline.tunings import Key, Record, load_record, make_key, record_path, save_record
from resnest_edge.quantize.alternatives import AXES, vary, words
from resnest_edge.quantize.placement import Placement
from resnest_edge.search.sweep import DEMO_IMAGES, NO_WEIGHTS
from resnest_edge.search.tune import Axis, Tuned, tune
from resnest_edge.search.tune_bench import EngineBench
from resnest_edge.spec import Precision, Target

_FEW = 64
_STAGES = 4


@dataclass(frozen=True)
class TuneRequest:
    """What `tune` is asked for.

    Attributes:
        build: how graphs are written and calibrated, one target and one precision; its form is where the search begins.
        plan: how speed is measured: one batch size, one stream.
        max_loss: decibels that INT8 may lose; placements are tried only where it is given.
        force: measure again, in the place of what was measured before, even where that is damaged.
    """

    build: BuildRequest
    plan: Plan
    max_loss: float | None = None
    force: bool = False


def tune_network(request: TuneRequest, progress: Progress = silent) -> tuple[Record, bool]:
    """Find the fastest way to write a network for this device, or what an earlier run found.

    Returns:
        The record as it is kept, and whether it was measured now.

    Raises:
        UsageError: several targets or precisions, too few rounds, nothing to choose between, INT8 without images, or
            what is kept was measured with another bound, start or (in INT8) other weights, and ``force`` is not given.
        InputError: what was measured before is damaged, and ``force`` is not given.
        ParityError: a form that is not equal; a bug.
        OutputError: the cache folder cannot be written.
    """
    target, precision = _check(request)
    backend = backend_for(target)
    backend.version()
    backend.check(precision)
    build = request.build
    source = find_source(
        build.what, weights=build.weights, num_classes=build.num_classes, choice=build.choice, progress=progress
    )
    key = make_key(source, target, precision, request.plan.batches[0], request.plan.threads)
    known = None if request.force else load_record(key)
    if known is not None:
        _refuse_other(known, request, source)
        return known, False
    axes = make_axes(source, None if request.max_loss is None else backend.int8_placement())
    pictures, few = _pictures(build, source, precision)
    start = Choice(build.form)
    with tempfile.TemporaryDirectory(prefix="resnest-edge-tune-") as scratch:
        tried = () if request.max_loss is None else tuple(words())
        bench = EngineBench(
            build, source, pictures, few, backend, precision, start, tried, request.plan, Path(scratch), progress
        )
        tuned = tune(start, axes, bench, max_loss=request.max_loss, progress=progress)
    record = _record(request, key, source, tuned, few)
    save_record(record)
    return record, True


def _check(request: TuneRequest) -> tuple[Target, Precision]:
    targets, precisions = request.build.targets or (default_target(),), request.build.precisions
    if len(targets) > 1 or len(precisions) > 1:
        raise UsageError("tuning is for one target and one precision at a time")
    if request.max_loss is not None and precisions[0] is not Precision.INT8:
        raise UsageError("--max-loss is for INT8: other precisions compute the same in every form")
    if request.max_loss is not None and request.build.weights == NO_WEIGHTS:
        raise UsageError(
            "random weights have no accuracy to lose", hint="Leave --max-loss out, or give --weights PATH."
        )
    if request.plan.rounds < LEAST_FOR_MEDIAN:
        raise UsageError(
            f"{request.plan.rounds} rounds give no 95 % interval", hint=f"Use --rounds {LEAST_FOR_MEDIAN} or more."
        )
    return targets[0], precisions[0]


def _refuse_other(known: Record, request: TuneRequest, source: Source) -> None:
    """Raise UsageError where what is kept answers another question than the one asked."""
    weights = source.parents.get("checkpoint")
    asked = {
        "--max-loss": (known.max_loss_db, request.max_loss),
        "--form": (known.begun_with, str(request.build.form)),
        "weights": (known.weights, weights) if known.key.precision == Precision.INT8 else (None, None),
    }
    if other := [f"{name} {kept or 'none'}" for name, (kept, now) in asked.items() if kept != now]:
        raise UsageError(
            f"what is kept for this device was measured with other settings ({', '.join(other)})",
            where=record_path(known.key),
            hint="--force measures again and replaces it.",
        )


def make_axes(source: Source, placement: Placement | None) -> list[Axis]:
    """What there is to vary for a network.

    Args:
        source: the network.
        placement: the target's own, where placements are varied as well.

    Raises:
        UsageError: nothing at all.
    """
    axes: list[Axis] = []
    if source.load is not None:
        config = source.load().config
        forms = stage_forms(config)
        axes += [Axis(f"stage {stage + 1}", _stage(stage, forms)) for stage in range(_STAGES) if len(forms) > 1]
        if config.radix > 0 and not config.avd_first:
            axes.append(Axis("pool", _pool))
    if placement is not None:
        axes += [Axis(axis, _ways(axis, placement), placement=True) for axis in AXES]
    if not axes:
        raise UsageError(
            f"there is nothing to choose between for {source.name}: its forms are one",
            hint="Placements of INT8 are measured with --max-loss DB.",
        )
    return axes


def stage_forms(config: ResNeStConfig) -> list[StageForm]:
    """The forms of a stage that are different graphs: with one split or one group some are the same."""
    if config.radix == 0:
        return [StageForm.SPLIT]
    if config.radix == 1:
        return [StageForm.SPLIT] + [StageForm.DENSE] * (config.cardinality > 1)
    if config.cardinality == 1:
        return [StageForm.SPLIT, StageForm.GROUPED, StageForm.DENSE]
    return list(StageForm)


def _stage(stage: int, forms: Sequence[StageForm]) -> Callable[[Choice], list[Choice]]:
    def rivals(incumbent: Choice) -> list[Choice]:
        found = []
        for form in forms:
            first, second, third, fourth = (
                form if place == stage else own for place, own in enumerate(incumbent.form.stages)
            )
            stages = (first, second, third, fourth)
            found.append(replace(incumbent, form=replace(incumbent.form, stages=stages)))
        return found

    return rivals


def _pool(incumbent: Choice) -> list[Choice]:
    return [replace(incumbent, form=replace(incumbent.form, early_pool=not incumbent.form.early_pool))]


def _ways(axis: str, own: Placement) -> Callable[[Choice], list[Choice]]:
    """The ways of an axis that place anything elsewhere than the incumbent does."""

    def rivals(incumbent: Choice) -> list[Choice]:
        found = [incumbent.placed(f"{axis}={way}") for way in AXES[axis]]
        return [rival for rival in found if placed(rival) != placed(incumbent)]

    def placed(choice: Choice) -> Placement:
        return vary(own, choice.placement, ("first", "last"))  # which layers these are does not matter here

    return rivals


def _pictures(build: BuildRequest, source: Source, precision: Precision) -> tuple[Pictures, ImageSet | None]:
    """What calibrates, and what answers are compared on: what calibration did not use, where there is such."""
    if precision is not Precision.INT8:
        return Pictures(None, None, ""), None
    if build.weights == NO_WEIGHTS:  # speed does not depend on the pictures, and random answers are worth none
        return choose_build_pictures(replace(build, images=build.images or DEMO_IMAGES), source), None
    pictures = choose_build_pictures(build, source)
    images = pictures.calibration if pictures.evaluation is None else pictures.evaluation
    assert images is not None  # choose_build_pictures refuses INT8 without any
    return pictures, spread(images, _FEW)


def _record(request: TuneRequest, key: Key, source: Source, tuned: Tuned, few: ImageSet | None) -> Record:
    plan = request.plan
    return Record(
        key=key,
        form=str(tuned.choice.form),
        placement=tuned.choice.placement,
        begun_with=str(request.build.form),
        ratio=tuned.ratio[0] if tuned.ratio else None,
        ratio_ci95=tuned.ratio[1] if tuned.ratio else None,
        weights=source.parents.get("checkpoint"),
        max_loss_db=request.max_loss,
        trials=tuned.trials,
        conditions={
            "rounds": plan.rounds,
            "slice_seconds": plan.seconds,
            "warmup_seconds": plan.warmup,
            "calibration_images": request.build.calib_images,
            "compared_images": None if few is None else len(few),
        },
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=request.build.command,
        versions=environment.tool_versions(),
    )
