"""`build`: from what the user has to measured engines, one bundle for each target and precision."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from resnest_edge.bundle import Bundle, is_bundle, open_bundle
from resnest_edge.errors import UsageError
from resnest_edge.files import refuse_existing
from resnest_edge.measure.accuracy import Accuracy
from resnest_edge.pipeline import rows
from resnest_edge.pipeline.bundles import rebuild_bundle
from resnest_edge.pipeline.choice import Choice
from resnest_edge.pipeline.making import Maker, Prepared, Settle, told
from resnest_edge.pipeline.pictures import Pictures, choose_pictures
from resnest_edge.pipeline.plan import BuildRequest, Job, choose_build_pictures, plan_jobs
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.pipeline.runtimes import backend_for, default_target
from resnest_edge.pipeline.sources import Source, find_source
from resnest_edge.pipeline.tuned import choose_tuned
from resnest_edge.spec import Precision, Target


@dataclass(frozen=True)
class BuildReport:
    """What a build made.

    Attributes:
        results: one row a bundle; its ``seconds`` are those of writing the typed graph and building the engine.
        notes: what the user should know, as sentences.
        warnings: what the user may not want, as sentences.
        prepare_seconds: export, simplification, parity check and calibration, which the rows of one form share.
    """

    results: list[dict[str, Any]]
    notes: list[str]
    warnings: list[str]
    prepare_seconds: float


def build(request: BuildRequest, progress: Progress = silent, settle: Settle | None = None) -> BuildReport:
    """Build every asked precision for every asked target, and measure each against FP32.

    Args:
        request: what was asked.
        progress: told of each stage.
        settle: makes each INT8 bundle, trying several precisions of its layers where it must (``search.max_drop``).

    Raises:
        ResnestEdgeError: the first thing that is wrong; bundles finished before it stay, whole.
    """
    if request.what is not None and is_bundle(Path(request.what)):
        return _build_exported(request, open_bundle(Path(request.what), trust=request.trust), progress)
    if request.trust is not None:
        raise UsageError("--trust is for building a bundle", hint="Name the folder that `resnest-edge export` wrote.")
    source = find_source(
        request.what,
        weights=request.weights,
        num_classes=request.num_classes,
        choice=request.choice,
        progress=progress,
    )
    return build_source(request, source, progress=progress, settle=settle)


def build_source(
    request: BuildRequest,
    source: Source,
    pictures: Pictures | None = None,
    *,
    progress: Progress = silent,
    settle: Settle | None = None,
) -> BuildReport:
    """Build what was asked of a network that is found already.

    Args:
        request: what was asked; its ``what`` and ``weights`` have been looked up.
        source: the network.
        pictures: what calibrates and what measures; chosen as the request says if None.
        progress: told of each stage.
        settle: as for :func:`build`.
    """
    jobs = plan_jobs(request, source.name)
    jobs, told = choose_tuned(request, source, jobs) if request.tuned else (jobs, [])
    pictures = pictures or choose_build_pictures(request, source)
    results: list[dict[str, Any]] = []
    bad: set[str] = set()
    signs: list[str] = []
    reference: Accuracy | None = None
    prepare_seconds = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        extra = _reference_job(jobs, pictures, Path(scratch))
        work = [*extra, *sorted(jobs, key=lambda job: job.precision is not Precision.FP32)]
        for group in _by_form(work):
            started = perf_counter()
            prepared = Prepared(request, source, group, pictures, progress)
            prepare_seconds += perf_counter() - started
            bad.update(prepared.skipped)
            maker = Maker(request, prepared, pictures, progress, reference)
            for job in group:
                made = settle(job, maker) if settle and job.precision is Precision.INT8 else maker.make(job)
                reference = maker.reference = maker.reference or made.accuracy
                bad.update(made.skipped)
                if job not in extra:
                    results.append(rows.row(made.bundle, made.measured, made.seconds))
            signs += prepared.signs()
    warnings = [*dict.fromkeys(signs), *rows.warnings(results, bad)]
    return BuildReport(results, [*rows.notes(pictures), *told], warnings, round(prepare_seconds, 2))


def _by_form(jobs: list[Job]) -> list[list[Job]]:
    """Jobs that are exported and calibrated together; the first job stays first: others are compared with it."""
    forms = dict.fromkeys(job.choice.form for job in jobs)
    return [[job for job in jobs if job.choice.form == form] for form in forms]


def _reference_job(jobs: list[Job], pictures: Pictures, scratch: Path) -> list[Job]:
    """An FP32 engine to compare with, built for the purpose when none that runs here was asked for."""
    runs_here = (Target.OPENVINO, Target.ONNXRUNTIME)
    if pictures.evaluation is None or any(
        job.precision is Precision.FP32 and job.backend.target in runs_here for job in jobs
    ):
        return []
    wanted = [job.backend for job in jobs if job.backend.target in runs_here]
    backend = wanted[0] if wanted else backend_for(default_target())
    return [Job(backend, Precision.FP32, scratch / "reference", reference=True, choice=Choice(jobs[0].choice.form))]


def _build_exported(request: BuildRequest, exported: Bundle, progress: Progress) -> BuildReport:
    """Build the engine of a bundle another machine exported; the graph's precision is what it is."""
    target = request.targets[0] if request.targets else exported.manifest.target
    if len(request.targets) > 1:
        raise UsageError("an exported bundle is built for one target at a time")
    if request.tuned:
        raise UsageError("an exported bundle has its form already", hint="Leave --tuned out, or export with --form.")
    if request.scales is not None or request.weights is not None or request.images is not None:
        raise UsageError("an exported bundle is quantized already", hint="Leave --weights, --images and --scales out.")
    started = perf_counter()
    out = request.out or Path("engines") / f"{exported.path.name}-{target}"
    refuse_existing(out, force=request.force)
    backend = backend_for(target)
    options = told(request.options, f"build {target}", progress)
    bundle = rebuild_bundle(exported, backend, out, force=request.force, options=options)
    seconds = perf_counter() - started
    pictures = choose_pictures(
        None, request.eval_images, classes=exported.manifest.info.num_classes, count=1, seed=request.seed
    )
    measured, _, skipped = rows.measure(bundle, pictures, None, request.skip_bad, progress)
    if measured.get("fp32_top1") is not None:
        unknown = dict.fromkeys(("fp32_top1", "drop", "drop_ci95", "agreement", "logit_sqnr_db"))
        measured = {**measured, **unknown, "reason": "no FP32 engine is here: evaluate --reference measures the drop"}
    results = [rows.row(bundle, measured, seconds)]
    return BuildReport(results, rows.notes(pictures), rows.warnings(results, set(skipped)), 0.0)
