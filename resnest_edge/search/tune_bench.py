"""Choices as engines: each is built once, checked, and timed beside others, one process each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from resnest_edge.backends.base import Backend
from resnest_edge.bundle import Bundle
from resnest_edge.images import ImageSet
from resnest_edge.measure.accuracy import Accuracy
from resnest_edge.measure.latency import Plan
from resnest_edge.measure.statistics import paired_sqnr_gain
from resnest_edge.pipeline.benchmark import benchmark_bundles
from resnest_edge.pipeline.bundles import build_bundle
from resnest_edge.pipeline.choice import Choice
from resnest_edge.pipeline.evaluation import evaluate_bundle
from resnest_edge.pipeline.making import Prepared
from resnest_edge.pipeline.pictures import Pictures
from resnest_edge.pipeline.plan import BuildRequest, Job
from resnest_edge.pipeline.progress import Progress
from resnest_edge.pipeline.sources import Source
from resnest_edge.search.tune import Change, Timing
from resnest_edge.spec import Form, Precision


class EngineBench:
    """Builds and measures choices for one target and precision.

    Args:
        request: how graphs are written; its form, targets and precisions are not read.
        source: the network.
        pictures: what calibrates INT8.
        few: pictures that answers are compared on, for INT8; None for floats.
        backend: the target.
        precision: of the typed graphs.
        start: what the search begins with; answers are compared with its own.
        words: every word of a placement that may be asked for.
        plan: how speed is measured; one batch size, one stream.
        scratch: an existing folder for the engines.
        progress: told of each stage.
    """

    def __init__(
        self,
        request: BuildRequest,
        source: Source,
        pictures: Pictures,
        few: ImageSet | None,
        backend: Backend,
        precision: Precision,
        start: Choice,
        words: tuple[str, ...],
        plan: Plan,
        scratch: Path,
        progress: Progress,
    ) -> None:
        self._request, self._source, self._pictures, self._few = request, source, pictures, few
        self._backend, self._precision, self._start, self._words = backend, precision, start, words
        self._plan, self._scratch, self._progress = plan, scratch, progress
        self._prepared: tuple[Form, Prepared] | None = None
        self._bundles: dict[Choice, Bundle] = {}
        self._answers: dict[Choice, Accuracy] = {}
        self._reference: Accuracy | None = None

    def time(self, choices: Sequence[Choice]) -> list[Timing]:
        """Median latency and images per second of each round."""
        bundles = [self._bundle(choice) for choice in choices]
        stage = " against ".join([", ".join(map(str, choices[1:])), str(choices[0])])
        measured = benchmark_bundles(
            bundles, self._plan, progress=lambda _, done, total: self._progress(stage, done, total)
        )
        return [Timing(found.latency_ms["p50"], found.rounds_images_per_second) for found in measured.results]

    def change(self, choice: Choice) -> Change | None:
        """How much nearer to FP32 the engine answers than the one that the search began with."""
        if self._few is None:
            return None
        ours, theirs = self._answered(choice), self._answered(self._start)
        return Change(*paired_sqnr_gain(self._fp32().logits, ours.logits, theirs.logits))

    def _bundle(self, choice: Choice) -> Bundle:
        if choice not in self._bundles:
            self._bundles[choice] = self._build(self._job(self._precision, choice))
        return self._bundles[choice]

    def _build(self, job: Job) -> Bundle:
        typed, origin = self._prepare(job.choice.form).write(job)
        return build_bundle(typed, self._backend, origin, job.out, force=False, options=self._request.options)

    def _job(self, precision: Precision, choice: Choice) -> Job:
        return Job(self._backend, precision, self._scratch / f"{precision}-{len(self._bundles)}", choice=choice)

    def _prepare(self, form: Form) -> Prepared:
        """The network exported and calibrated in a form; one is held at a time, since a calibration is large."""
        if self._prepared is None or self._prepared[0] != form:
            self._prepared = None
            self._check(form)
            placements = {(), *((word,) for word in self._words), self._start.placement}
            jobs = [self._job(self._precision, Choice(form, placement)) for placement in sorted(placements)]
            request = replace(self._request, form=form)
            self._prepared = form, Prepared(request, self._source, jobs, self._pictures, self._progress)
        return self._prepared[1]

    def _check(self, form: Form) -> None:
        """Hold a form to the network as trained, in float64."""
        if self._source.load is None:
            return
        from resnest_edge.pipeline.core import check_form

        self._progress(f"check {form}", 0, None)
        check_form(self._source.load(), form)

    def _answered(self, choice: Choice) -> Accuracy:
        if choice not in self._answers:
            self._answers[choice] = self._run(self._bundle(choice))
        return self._answers[choice]

    def _fp32(self) -> Accuracy:
        """The FP32 engine's answers: every form's are the same but for rounding."""
        if self._reference is None:
            form = self._prepared[0] if self._prepared else self._start.form
            job = replace(self._job(Precision.FP32, Choice(form)), out=self._scratch / "reference")
            self._reference = self._run(self._build(job))
        return self._reference

    def _run(self, bundle: Bundle) -> Accuracy:
        assert self._few is not None
        accuracy, _ = evaluate_bundle(bundle, self._few, progress=self._progress, stage="compare answers")
        return accuracy
