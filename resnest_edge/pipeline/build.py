"""`build`: from what the user has to measured engines, one bundle for each target and precision."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from resnest_edge.backends.base import Backend, BuildOptions
from resnest_edge.bundle import Bundle, is_bundle, open_bundle
from resnest_edge.errors import OutputError, UsageError
from resnest_edge.files import refuse_existing
from resnest_edge.measure.accuracy import Accuracy
from resnest_edge.pipeline import rows
from resnest_edge.pipeline.bundles import Origin, build_bundle, class_labels, rebuild_bundle
from resnest_edge.pipeline.pictures import Pictures, choose_pictures
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.pipeline.runtimes import backend_for, default_target
from resnest_edge.pipeline.sources import PreprocessingChoice, Source, find_source
from resnest_edge.spec import BatchRange, Form, InputFormat, Precision, Target

if TYPE_CHECKING:
    from resnest_edge.calibration.scales import Scales
    from resnest_edge.pipeline.typed import TypedGraph


@dataclass(frozen=True)
class BuildRequest:
    """Everything `build` and `export` can be asked for; the names are the options' names."""

    what: str | None = None
    weights: str | None = None
    num_classes: int | None = None
    choice: PreprocessingChoice = field(default_factory=PreprocessingChoice)
    precisions: tuple[Precision, ...] = (Precision.INT8,)
    targets: tuple[Target, ...] = ()
    form: Form = Form.SPLIT
    batch: BatchRange | None = None
    input_format: InputFormat = InputFormat.UINT8_NHWC
    images: str | None = None
    eval_images: str | None = None
    calib_images: int = 512
    seed: int = 0
    method: str = "mse"
    scales: Path | None = None
    weight_bits: int | None = None
    skip_bad: bool = False
    out: Path | None = None
    force: bool = False
    command: str | None = None
    options: BuildOptions = field(default_factory=BuildOptions)

    def __post_init__(self) -> None:
        if self.weight_bits not in (None, 7, 8):
            raise UsageError(f"weights of {self.weight_bits} bits are not known", hint="Use 7 or 8.")
        if not self.precisions or len(set(self.precisions)) < len(self.precisions):
            raise UsageError("name each precision once")


@dataclass(frozen=True)
class Job:
    """One bundle to make."""

    backend: Backend
    precision: Precision
    out: Path


@dataclass(frozen=True)
class BuildReport:
    """What a build made.

    Attributes:
        results: one row a bundle; its ``seconds`` are those of writing the typed graph and building the engine.
        notes: what the user should know, as sentences.
        prepare_seconds: export, simplification, parity check and calibration, which all rows share.
    """

    results: list[dict[str, Any]]
    notes: list[str]
    prepare_seconds: float


def build(request: BuildRequest, progress: Progress = silent) -> BuildReport:
    """Build every asked precision for every asked target, and measure each against FP32.

    Raises:
        ResnestEdgeError: the first thing that is wrong; bundles finished before it stay, whole.
    """
    if request.what is not None and is_bundle(Path(request.what)):
        return _build_exported(request, open_bundle(Path(request.what)), progress)
    source = find_source(
        request.what,
        weights=request.weights,
        num_classes=request.num_classes,
        choice=request.choice,
        progress=progress,
    )
    jobs = plan_jobs(request, source.name)
    pictures = choose_build_pictures(request, source)
    results: list[dict[str, Any]] = []
    reference: Accuracy | None = None
    bad: set[str] = set()
    with tempfile.TemporaryDirectory() as scratch:
        extra = _reference_job(jobs, pictures, Path(scratch))
        work = [*extra, *sorted(jobs, key=lambda job: job.precision is not Precision.FP32)]
        started = perf_counter()
        prepared = Prepared(request, source, work, pictures, progress)
        prepare_seconds = perf_counter() - started
        bad.update(prepared.skipped)
        for job in work:
            started = perf_counter()
            progress(f"build {job.backend.target} {job.precision}", 0, None)
            typed, origin = prepared.write(job)
            bundle = build_bundle(typed, job.backend, origin, job.out, force=request.force, options=request.options)
            seconds = perf_counter() - started
            measured, accuracy, skipped = rows.measure(bundle, pictures, reference, request.skip_bad, progress)
            bad.update(skipped)
            reference = reference or accuracy
            if job not in extra:
                results.append(rows.row(bundle, measured, seconds))
    return BuildReport(results, rows.notes(results, pictures, bad), round(prepare_seconds, 2))


def plan_jobs(request: BuildRequest, name: str, *, installed: bool = True) -> list[Job]:
    """Where each bundle will stand, with everything refused that can be refused before work begins.

    Args:
        request: what was asked.
        name: of the model, for the default folder.
        installed: whether the targets' runtimes must be here.

    Raises:
        UnavailableError: a runtime is not here.
        UsageError: a target that cannot run a precision.
        OutputError: a bundle of that name exists.
    """
    targets = request.targets or (default_target(),)
    out = request.out or Path("engines") / name
    several = len(targets) * len(request.precisions) > 1
    jobs = []
    for target in targets:
        backend = backend_for(target)
        if installed:
            backend.version()
        for precision in request.precisions:
            backend.check(precision)
            leaf = f"{target}-{precision}" if len(targets) > 1 else str(precision)
            jobs.append(Job(backend, precision, out / leaf if several else out))
    if several and is_bundle(out):
        raise OutputError("is a bundle, and several are to be written into it", where=out, hint="Use another --out.")
    for job in jobs:
        refuse_existing(job.out, force=request.force)
    return jobs


def choose_build_pictures(request: BuildRequest, source: Source) -> Pictures:
    """The pictures of a build: the user's, or the demo's own where the demo model is built without any.

    Raises:
        UsageError: INT8 was asked for, and there is nothing to calibrate on.
    """
    images, evaluation = request.images, request.eval_images
    if source.demo and images is None:
        images, evaluation = "demo:train", evaluation or "demo:test"
    if Precision.INT8 in request.precisions and images is None and request.scales is None:
        raise UsageError(
            "INT8 needs images to calibrate on", hint="Give --images DIR (labelled or not), or --scales FILE."
        )
    return choose_pictures(
        images, evaluation, classes=source.num_classes, count=request.calib_images, seed=request.seed
    )


class Prepared:
    """A source exported and calibrated, once, for every job that is written from it."""

    def __init__(
        self, request: BuildRequest, source: Source, jobs: list[Job], pictures: Pictures, progress: Progress
    ) -> None:
        from resnest_edge.pipeline.calibrated import Calibrated, open_network

        self._request, self._source = request, source
        self._labels = class_labels(_class_names(pictures), source.num_classes)
        self._network = open_network(request, source, progress)
        self._calibrated = Calibrated(self._network, request, pictures, progress)
        self._calibrated.prepare([job.backend for job in jobs if job.precision is Precision.INT8])
        self.skipped = self._calibrated.skipped

    def write(self, job: Job) -> tuple[TypedGraph, Origin]:
        """The typed graph of one job, and what its bundle records of where it came from."""
        from resnest_edge.pipeline.typed import write_typed

        placement = self._calibrated.placement(job.backend)
        scales = self._calibrated.scales(placement) if job.precision is Precision.INT8 else None
        origin = Origin(
            self._source.preprocessing,
            self._labels,
            _calibration_record(scales),
            dict(self._source.parents),
            self._request.command,
        )
        return write_typed(self._network, job.precision, placement, scales), origin


def _class_names(pictures: Pictures) -> tuple[str, ...]:
    found = [images.class_names for images in (pictures.evaluation, pictures.calibration) if images is not None]
    return next((names for names in found if names), ())


def _calibration_record(scales: Scales | None) -> dict[str, Any] | None:
    if scales is None:
        return None
    return {"method": scales.method, "images": scales.images, "images_digest": scales.images_digest}


def _reference_job(jobs: list[Job], pictures: Pictures, scratch: Path) -> list[Job]:
    """An FP32 engine to compare with, built for the purpose when none that runs here was asked for."""
    runs_here = (Target.OPENVINO, Target.ONNXRUNTIME)
    if pictures.evaluation is None or any(
        job.precision is Precision.FP32 and job.backend.target in runs_here for job in jobs
    ):
        return []
    wanted = [job.backend for job in jobs if job.backend.target in runs_here]
    backend = wanted[0] if wanted else backend_for(default_target())
    return [Job(backend, Precision.FP32, scratch / "reference")]


def _build_exported(request: BuildRequest, exported: Bundle, progress: Progress) -> BuildReport:
    """Build the engine of a bundle another machine exported; the graph's precision is what it is."""
    target = request.targets[0] if request.targets else exported.manifest.target
    if len(request.targets) > 1:
        raise UsageError("an exported bundle is built for one target at a time")
    if request.scales is not None or request.weights is not None or request.images is not None:
        raise UsageError("an exported bundle is quantized already", hint="Leave --weights, --images and --scales out.")
    started = perf_counter()
    out = request.out or Path("engines") / f"{exported.path.name}-{target}"
    refuse_existing(out, force=request.force)
    backend = backend_for(target)
    bundle = rebuild_bundle(exported, backend, out, force=request.force, options=request.options)
    seconds = perf_counter() - started
    pictures = choose_pictures(
        None, request.eval_images, classes=exported.manifest.info.num_classes, count=1, seed=request.seed
    )
    measured, _, skipped = rows.measure(bundle, pictures, None, request.skip_bad, progress)
    if measured.get("fp32_top1") is not None:
        unknown = dict.fromkeys(("fp32_top1", "drop", "drop_ci95", "agreement", "logit_sqnr_db"))
        measured = {**measured, **unknown, "reason": "no FP32 engine is here: evaluate --reference measures the drop"}
    results = [rows.row(bundle, measured, seconds)]
    return BuildReport(results, rows.notes(results, pictures, set(skipped)), 0.0)
