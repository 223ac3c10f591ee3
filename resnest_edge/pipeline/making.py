"""One network made into bundles: exported and calibrated once, then written, built and measured a job at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from resnest_edge.backends.base import BuildOptions
from resnest_edge.bundle import Bundle
from resnest_edge.measure.accuracy import Accuracy
from resnest_edge.pipeline import rows
from resnest_edge.pipeline.bundles import Origin, build_bundle, class_labels
from resnest_edge.pipeline.pictures import Pictures
from resnest_edge.pipeline.plan import BuildRequest, Job
from resnest_edge.pipeline.progress import Progress
from resnest_edge.pipeline.sources import Source
from resnest_edge.spec import Precision

if TYPE_CHECKING:
    from resnest_edge.calibration.scales import Scales
    from resnest_edge.images import ImageSet
    from resnest_edge.pipeline.probe import Probe
    from resnest_edge.pipeline.typed import TypedGraph
    from resnest_edge.quantize.placement import Placement


@dataclass(frozen=True)
class Made:
    """A bundle and what it measured.

    Attributes:
        bundle: as written.
        measured: the accuracy keys of its row.
        accuracy: what it answered; None where nothing was measured.
        skipped: bad pictures left out.
        seconds: of writing the typed graph and building the engine.
    """

    bundle: Bundle
    measured: dict[str, Any]
    accuracy: Accuracy | None
    skipped: tuple[str, ...]
    seconds: float


class Prepared:
    """A source exported and calibrated, once, for every job that is written from it; all are of one form."""

    def __init__(
        self, request: BuildRequest, source: Source, jobs: list[Job], pictures: Pictures, progress: Progress
    ) -> None:
        from resnest_edge.pipeline.calibrated import Calibrated, open_network

        request = replace(request, form=jobs[0].choice.form)
        self._request, self._source = request, source
        self._labels = class_labels(_class_names(pictures), source.num_classes)
        self._network = open_network(request, source, progress)
        self._calibrated = Calibrated(self._network, request, pictures, progress)
        int8 = [job for job in jobs if job.precision is Precision.INT8]
        self._calibrated.prepare([job.backend for job in int8], [self._placement(job) for job in int8])
        self.skipped = self._calibrated.skipped

    def write(
        self, job: Job, keep_float: frozenset[str] = frozenset(), record: Mapping[str, Any] | None = None
    ) -> tuple[TypedGraph, Origin]:
        """The typed graph of one job, and what its bundle records of where it came from."""
        from resnest_edge.pipeline.typed import write_typed

        placement = self._placement(job)
        placement = replace(placement, keep_float=placement.keep_float | keep_float)
        scales = self._calibrated.scales(placement) if job.precision is Precision.INT8 else None
        origin = Origin(
            self._source.preprocessing,
            self._labels,
            _calibration_record(scales, self._request.equalize, record),
            dict(self._source.parents),
            self._request.command,
        )
        return write_typed(self._network, job.precision, placement, scales), origin

    def signs(self) -> list[str]:
        """What is odd about the calibration images, as sentences."""
        return self._calibrated.signs()

    def probe(self, job: Job, images: ImageSet) -> Probe:
        """What measures a job's layers one at a time, on ``images``."""
        from resnest_edge.pipeline.probe import Probe

        placement = self._placement(job)
        return Probe(self._network, self._calibrated.scales(placement), placement, images)

    def _placement(self, job: Job) -> Placement:
        return self._calibrated.placement(job.backend, job.choice.placement)


def told(options: BuildOptions, work: str, progress: Progress) -> BuildOptions:
    """Options whose build tells of its phases under the name of the work."""
    return replace(options, progress=lambda stage, done, total: progress(f"{work}: {stage}", done, total))


def _class_names(pictures: Pictures) -> tuple[str, ...]:
    found = [images.class_names for images in (pictures.evaluation, pictures.calibration) if images is not None]
    return next((names for names in found if names), ())


def _calibration_record(
    scales: Scales | None, equalize: bool, record: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    if scales is None:
        return None
    return {
        "method": scales.method,
        "images": scales.images,
        "images_digest": scales.images_digest,
        "bias_correction": bool(scales.corrections),
        "round_weights": bool(scales.rounding),
        "weight_scales": scales.weight_scales,
        "equalize": equalize,
        **(record or {}),
    }


class Maker:
    """Makes one bundle at a time and measures it against the first one made, FP32."""

    def __init__(
        self,
        request: BuildRequest,
        prepared: Prepared,
        pictures: Pictures,
        progress: Progress,
        reference: Accuracy | None = None,
    ) -> None:
        self.request, self.prepared, self.pictures, self.progress = request, prepared, pictures, progress
        self.reference = reference

    def make(
        self,
        job: Job,
        keep_float: frozenset[str] = frozenset(),
        *,
        record: Mapping[str, Any] | None = None,
        known: Made | None = None,
    ) -> Made:
        """Write, build and measure.

        Args:
            job: what to make, and where.
            keep_float: layers of an INT8 graph that stay in the float type.
            record: more for the manifest's account of calibration.
            known: the same graph made before, whose measurement stands.
        """
        work = f"build {job.backend.target} {job.precision}"
        started = perf_counter()
        self.progress(work, 0, None)
        typed, origin = self.prepared.write(job, keep_float, record)
        options = told(BuildOptions() if job.reference else self.request.options, work, self.progress)
        bundle = build_bundle(typed, job.backend, origin, job.out, force=self.request.force, options=options)
        seconds = perf_counter() - started
        if known is not None:
            return replace(known, bundle=bundle, seconds=seconds)
        skip_bad = self.request.skip_bad
        measured, accuracy, skipped = rows.measure(bundle, self.pictures, self.reference, skip_bad, self.progress)
        return Made(bundle, measured, accuracy, skipped, seconds)


Settle = Callable[[Job, Maker], Made]
"""Makes the INT8 bundle of one job with a :class:`Maker`, in as many trials as it takes."""
