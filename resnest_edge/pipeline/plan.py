"""What a build is asked for and the bundles it will make; what can be refused is refused before work begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from resnest_edge.backends.base import Backend, BuildOptions
from resnest_edge.bundle import is_bundle
from resnest_edge.calibration.scales import WEIGHT_SCALES, Scales
from resnest_edge.errors import OutputError, UsageError
from resnest_edge.files import refuse_existing
from resnest_edge.pipeline.choice import Choice
from resnest_edge.pipeline.pictures import Pictures, choose_pictures
from resnest_edge.pipeline.runtimes import backend_for, default_target
from resnest_edge.pipeline.sources import PreprocessingChoice, Source
from resnest_edge.spec import BatchRange, Form, InputFormat, Precision, Target
from resnest_edge.stage_cache import StageCache

ANY_BATCH = BatchRange(1, 1, 64)
"""Batch sizes that an engine takes unless a build says otherwise."""


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
    tuned: bool = False
    batch: BatchRange | None = None
    input_format: InputFormat = InputFormat.UINT8_NHWC
    images: str | None = None
    eval_images: str | None = None
    calib_images: int = 512
    seed: int = 0
    method: str = "mse"
    bias_correction: bool = True
    round_weights: bool = True
    weight_scales: str = "max"
    equalize: bool = False
    scales: Path | None = None
    weight_bits: int | None = None
    skip_bad: bool = False
    trust: Path | None = None
    out: Path | None = None
    force: bool = False
    command: str | None = None
    options: BuildOptions = field(default_factory=BuildOptions)
    cache: StageCache | None = None

    def __post_init__(self) -> None:
        if self.weight_bits not in (None, 7, 8):
            raise UsageError(f"weights of {self.weight_bits} bits are not known", hint="Use 7 or 8.")
        if self.weight_scales not in WEIGHT_SCALES:
            raise UsageError(
                f"weight scales by {self.weight_scales!r} are not known", hint=f"Use one of {', '.join(WEIGHT_SCALES)}."
            )
        if not self.precisions or len(set(self.precisions)) < len(self.precisions):
            raise UsageError("name each precision once")


@dataclass(frozen=True)
class Job:
    """One bundle to make.

    Attributes:
        backend: what builds it.
        precision: what was asked for.
        out: where it will stand.
        reference: made only to compare with; the engine options asked for are not its own.
        choice: inference form, and how its placement departs from the target's own.
    """

    backend: Backend
    precision: Precision
    out: Path
    reference: bool = False
    choice: Choice = field(default_factory=Choice)


def plan_jobs(request: BuildRequest, name: str, *, installed: bool = True) -> list[Job]:
    """Where each bundle will stand, with everything refused that can be refused before work begins.

    Args:
        request: what was asked.
        name: of the model, for the default folder.
        installed: whether the targets' runtimes must be here.

    Raises:
        UnavailableError: a runtime is not here, or the GPU that a build needs.
        UsageError: a target that cannot run a precision, or does not take an option.
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
            backend.check_options(request.options)
        for precision in request.precisions:
            backend.check(precision)
            leaf = f"{target}-{precision}" if len(targets) > 1 else str(precision)
            jobs.append(Job(backend, precision, out / leaf if several else out, choice=Choice(request.form)))
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
    if request.scales is not None:
        Scales.load(request.scales)  # a bad file is said before work that would be lost
    if Precision.INT8 in request.precisions and images is None and request.scales is None:
        raise UsageError(
            "INT8 needs images to calibrate on", hint="Give --images DIR (labelled or not), or --scales FILE."
        )
    return choose_pictures(
        images, evaluation, classes=source.num_classes, count=request.calib_images, seed=request.seed
    )
