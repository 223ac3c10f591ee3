"""`report`: bundles measured for accuracy and speed in one go, and the pages written from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnest_edge import environment
from resnest_edge.bundle import Bundle, open_bundle
from resnest_edge.errors import UnavailableError, UsageError
from resnest_edge.files import refuse_existing
from resnest_edge.images import ImageSet
from resnest_edge.measure.accuracy import Accuracy, compare
from resnest_edge.measure.latency import Plan
from resnest_edge.pipeline.benchmark import benchmark_paths
from resnest_edge.pipeline.evaluation import evaluate_bundle
from resnest_edge.pipeline.pictures import open_pictures
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.report.assemble import BundleFacts, make_report
from resnest_edge.report.schema import JSON_NAME, Report, load_report
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
    trust: Path | None = None


def report(request: ReportRequest, progress: Progress = silent) -> tuple[Report, tuple[Path, ...]]:
    """Measure the bundles and write ``report.json``, ``report.md`` and ``index.html``.

    Returns:
        The report and the files written.

    Raises:
        UsageError: bundles that cannot be compared.
        OutputError: a report is there already, or cannot be written.
    """
    if len(request.paths) == 1 and request.paths[0].suffix == ".json":
        again = load_report(request.paths[0])
        return again, write_report(again, request.out, force=request.force)
    refuse_existing(request.out / JSON_NAME, force=request.force)
    bundles = [open_bundle(path, trust=request.trust) for path in request.paths]
    if len({bundle.path for bundle in bundles}) < len(bundles):
        raise UsageError("name each bundle once")
    if len({bundle.manifest.info.num_classes for bundle in bundles}) > 1:
        raise UsageError("the bundles are of models of different classes")
    # Speed first: measuring accuracy keeps every core busy, and a busy machine is no place to measure speed on.
    measured = benchmark_paths(
        [bundle.path for bundle in bundles if bundle.manifest.engine], request.plan, progress=progress
    )
    evaluations, skipped = _evaluate(bundles, request, progress)
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
    return made, write_report(made, request.out, force=request.force)


def _evaluate(
    bundles: Sequence[Bundle], request: ReportRequest, progress: Progress
) -> tuple[list[dict[str, Any]], list[str]]:
    """``evaluate --json`` of every bundle against the first, and sentences about bad pictures."""
    if request.images is None:
        return [], []
    images = open_pictures(request.images, bundles[0].manifest.info.num_classes)
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
        form=manifest.info.form.value if manifest.info.form else None,
        size_mib=bundle.size_bytes() / 2**20,
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
