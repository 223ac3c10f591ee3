"""`report`: bundles measured for accuracy and speed in one go, and the pages written from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resnest_edge import environment
from resnest_edge.bundle import Bundle, open_bundle
from resnest_edge.errors import UnavailableError, UsageError
from resnest_edge.files import refuse_existing
from resnest_edge.images import ImageSet
from resnest_edge.measure.accuracy import Accuracy, compare
from resnest_edge.measure.latency import Plan
from resnest_edge.pipeline.benchmark import benchmark_bundles
from resnest_edge.pipeline.evaluation import evaluate_bundle
from resnest_edge.pipeline.inspection import inspect_bundle
from resnest_edge.pipeline.pictures import open_pictures
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.pipeline.report_parts import engine_account, pictures_digest, published_points, read_sensitivity
from resnest_edge.report.assemble import BundleFacts, add_parts, make_report
from resnest_edge.report.reading import load_report
from resnest_edge.report.schema import JSON_NAME, EngineLayers, Report
from resnest_edge.report.write import write_report
from resnest_edge.spec import Precision

DEMO_MODEL = "resnest-demo"


@dataclass(frozen=True)
class ReportRequest:
    """What a report is made of.

    Attributes:
        paths: bundles, the reference first; or one ``report.json``, to render it again.
        out: folder for the pages.
        images: labelled pictures to measure accuracy on; None leaves accuracy out.
        plan: how speed is measured.
        title: heading; made from the model's name if None.
        command: what was typed, for the reader to repeat after the builds' own commands.
        notes: sentences to add.
        skip_bad: leave damaged pictures out and name them.
        force: replace pages that are there.
        layers: ask every runtime what each layer runs in and how long it takes.
        sensitivity: a file that `sensitivity` wrote, of the same model.
        published: add what others published, for orientation.
        trust: a public key that must have signed every bundle.
    """

    paths: tuple[Path, ...]
    out: Path
    images: str | None
    plan: Plan
    title: str | None = None
    command: str | None = None
    notes: tuple[str, ...] = ()
    skip_bad: bool = False
    force: bool = False
    layers: bool = True
    sensitivity: Path | None = None
    published: bool = False
    trust: Path | None = None


def report(request: ReportRequest, progress: Progress = silent) -> tuple[Report, tuple[Path, ...]]:
    """Measure the bundles and write the pages: see :func:`resnest_edge.report.write.write_report`.

    Returns:
        The report and the files written.

    Raises:
        UsageError: bundles that cannot be compared.
        OutputError: a report is there already, or cannot be written.
    """
    if len(request.paths) == 1 and request.paths[0].suffix == ".json":
        again = _completed(load_report(request.paths[0]), request)
        return again, write_report(again, request.out, force=request.force)
    refuse_existing(request.out / JSON_NAME, force=request.force)
    bundles = _open(request.paths, request.trust)
    sensitivity = read_sensitivity(request.sensitivity, {bundle.manifest.info.name for bundle in bundles})
    # Speed first: measuring accuracy keeps every core busy, and a busy machine is no place to measure speed on.
    measured = benchmark_bundles(
        [bundle for bundle in bundles if bundle.manifest.engine], request.plan, progress=progress
    )
    layers = _inspect(bundles, progress) if request.layers else []
    images = None
    if request.images is not None:
        images = open_pictures(request.images, bundles[0].manifest.info.num_classes)
    evaluations, skipped = ([], []) if images is None else _evaluate(bundles, images, request, progress)
    made = make_report(
        [_facts(bundle) for bundle in bundles],
        title=request.title or f"{bundles[0].manifest.info.name}: accuracy and speed",
        evaluations=evaluations,
        benchmark=measured.to_json(),
        environment=environment.describe(),
        commands=_commands(bundles, request.command),
        notes=[*request.notes, *_notes(bundles), *skipped],
        demo=any(bundle.manifest.info.name == DEMO_MODEL for bundle in bundles),
    )
    made = add_parts(
        made,
        images_digest=None if images is None else pictures_digest(images),
        layers=layers,
        sensitivity=sensitivity,
        published=published_points() if request.published else (),
    )
    return made, write_report(made, request.out, force=request.force)


def _open(paths: Sequence[Path], trust: Path | None) -> list[Bundle]:
    bundles = [open_bundle(path, trust=trust) for path in paths]
    if len({bundle.path for bundle in bundles}) < len(bundles):
        raise UsageError("name each bundle once")
    if len({bundle.manifest.info.num_classes for bundle in bundles}) > 1:
        raise UsageError("the bundles are of models of different classes")
    return bundles


def _completed(again: Report, request: ReportRequest) -> Report:
    """A report that is rendered again, with what was asked to be added to it."""
    if request.sensitivity is not None:
        models = {row.model for row in again.rows if row.model is not None}
        again = replace(again, sensitivity=read_sensitivity(request.sensitivity, models))
    return replace(again, published=published_points()) if request.published else again


def _inspect(bundles: Sequence[Bundle], progress: Progress) -> list[EngineLayers]:
    found = []
    for done, bundle in enumerate(bundles):
        progress("inspect layers", done, len(bundles))
        found.append(engine_account(inspect_bundle(bundle)))
    progress("inspect layers", len(bundles), len(bundles))
    return found


def _evaluate(
    bundles: Sequence[Bundle], images: ImageSet, request: ReportRequest, progress: Progress
) -> tuple[list[dict[str, Any]], list[str]]:
    """``evaluate --json`` of every bundle against the first, and sentences about bad pictures."""
    values: list[dict[str, Any]] = []
    bad: set[str] = set()
    reference: Accuracy | None = None
    for bundle in bundles:
        try:
            accuracy, skipped = _answers(bundle, images, request, progress)
        except UnavailableError as exc:
            if bundle is bundles[0]:
                raise  # every other figure is against the first bundle
            values.append({"bundle": str(bundle.path), "reason": str(exc)})
            continue
        bad.update(skipped)
        value = accuracy.to_json(str(bundle.path))
        if reference is not None:
            value.update(compare(accuracy, reference).to_json())
        reference = reference or accuracy
        values.append(value)
    return values, [f"{len(bad)} damaged images were left out: {', '.join(sorted(bad)[:5])}"] if bad else []


def _answers(
    bundle: Bundle, images: ImageSet, request: ReportRequest, progress: Progress
) -> tuple[Accuracy, tuple[str, ...]]:
    stage = f"measure {bundle.path.name}"
    return evaluate_bundle(bundle, images, skip_bad=request.skip_bad, progress=progress, stage=stage)


def _commands(bundles: Sequence[Bundle], last: str | None) -> list[str]:
    """How the bundles were built, each command once, and then the report's own."""
    typed = [bundle.manifest.command for bundle in bundles] + [last]
    return list(dict.fromkeys(command for command in typed if command))


def _facts(bundle: Bundle) -> BundleFacts:
    manifest = bundle.manifest
    return BundleFacts(
        bundle=str(bundle.path),
        target=manifest.target.value,
        precision=manifest.info.precision.value,
        precision_run=manifest.precision_run.value if manifest.precision_run else None,
        form=str(manifest.info.form) if manifest.info.form else None,
        size_mib=bundle.size_bytes() / 2**20,
        model=manifest.info.name,
        image_size=manifest.info.image_size,
    )


def _notes(bundles: Sequence[Bundle]) -> list[str]:
    notes = []
    for bundle in bundles:
        info, calibration = bundle.manifest.info, bundle.manifest.calibration
        if info.precision is Precision.INT8 and calibration:
            notes.append(
                f"{bundle.path}: calibrated on {calibration['images']} images with the {calibration['method']} method, "
                f"{info.weight_bits}-bit weights, {info.style} Q/DQ, {info.float_type.value} between"
            )
        if bundle.manifest.precision_run not in (None, info.precision):
            notes.append(
                f"{bundle.path}: {info.precision.value.upper()} was asked for, and this machine runs the graph in "
                f"{bundle.manifest.precision_run.value.upper() if bundle.manifest.precision_run else '–'}: its weights "
                "are rounded, its arithmetic is not"
            )
    return notes
