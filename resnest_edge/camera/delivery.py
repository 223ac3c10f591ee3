"""The thread behind the engine: it waits for answers in order, names them, and hands results to the sinks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import Empty
from time import perf_counter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from resnest_edge.camera.base import Answer, CameraResult
from resnest_edge.camera.batching import Job, Pending
from resnest_edge.camera.engine import CameraEngine
from resnest_edge.camera.outlets import Outlets
from resnest_edge.camera.worker import Shared, Worker
from resnest_edge.errors import UnavailableError
from resnest_edge.measure.summary import percentiles

STAGES = ("queue", "preprocess", "infer", "total")
MAX_FAILURES = 20
"""Failed inferences in a row after which the engine is given up."""

_KEPT = 10_000


class Answering(Protocol):
    """From probabilities to answers; :class:`resnest_edge.camera.answers.Answerer` is the one."""

    def __call__(self, source: str, probabilities: npt.NDArray[np.float32]) -> tuple[Answer, ...]:
        """Answers of one frame from its (K,) probabilities."""
        ...

    def forget(self, source: str) -> None:
        """Forget what was smoothed of a source."""
        ...


class Delivery(Worker):
    """Ends when the batcher says so; frames that it cannot answer count as failed, whatever happens.

    Args:
        pending: jobs in order.
        answering: used by this thread alone.
        outlets: likewise.
        every: seconds between two accounts for the sinks.
        shared: see :class:`Worker`; told of the engine's first failure.
        finished: called at the very end.
    """

    def __init__(
        self,
        pending: Pending,
        answering: Answering,
        outlets: Outlets,
        *,
        every: float,
        shared: Shared,
        finished: Callable[[], None],
    ) -> None:
        super().__init__("delivery", shared)
        self._pending, self._answering, self._outlets = pending, answering, outlets
        self._every, self._due = every, perf_counter() + every
        self._finished = finished
        self._failures = 0
        self._latencies: deque[tuple[float, float, float, float]] = deque(maxlen=_KEPT)

    def latency_ms(self) -> dict[str, dict[str, float]]:
        """Mean and percentiles of each stage over the last 10,000 frames, milliseconds; empty before the first."""
        columns = list(zip(*tuple(self._latencies), strict=True))
        return {name: percentiles(column) for name, column in zip(STAGES, columns, strict=False)}

    def work(self) -> None:
        """Until the batcher has no more."""
        try:
            self._follow(self._deliver)
            self._outlets.status(self._account.snapshot())
        except Exception as exc:  # noqa: BLE001 - told at once, or the sources would go on; then see that all ends
            self._shared.crashed(exc)
            self._follow(self._discard)
        finally:
            self._outlets.close()
            self._finished()

    def _follow(self, each: Callable[[Job], None]) -> None:
        while (job := self._next()) is not None:
            if isinstance(job, CameraEngine):
                job.close()
            else:
                each(job)

    def _next(self) -> Job | CameraEngine | None:
        while True:
            now = perf_counter()
            if now >= self._due:
                self._due = now + self._every
                self._outlets.status(self._account.snapshot())
            try:
                return self._pending.get(timeout=self._due - now if self._due > now else 0.0)
            except Empty:
                continue

    def _deliver(self, job: Job) -> None:
        error = job.future.exception()
        if error is not None:
            self._discard(job)
            self._bear(error)
            return
        self._failures = 0
        probabilities = job.future.result().probabilities
        given = 0
        try:
            for index, frame in enumerate(job.frames):
                self._begin(frame.source, frame.frame_id)
                answers = self._answering(frame.source, probabilities[index])
                latency = self._latency(job, frame.captured)
                given += 1
                self._account.count(frame.source, "inferred")
                self._outlets.write(CameraResult(frame, answers, latency, job.bundle))
        finally:
            for frame in job.frames[given:]:
                self._account.count(frame.source, "failed")

    def _discard(self, job: Job) -> None:
        job.future.exception()  # the engine may be closed only when it has answered
        for frame in job.frames:
            self._account.count(frame.source, "failed")

    def _bear(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures == 1:
            self._tell(f"the engine failed on a batch: {error}")
        if self._failures >= MAX_FAILURES:
            raise UnavailableError(
                f"the engine failed on {self._failures} batches in a row ({error})",
                hint="Try it with `resnest-edge benchmark BUNDLE`.",
            ) from error

    def _begin(self, source: str, frame_id: int) -> None:
        begins = self._shared.begins[source]
        if begins and begins[0] <= frame_id:
            while begins and begins[0] <= frame_id:  # more than one where every frame between was dropped
                begins.popleft()
            self._answering.forget(source)

    def _latency(self, job: Job, captured: float) -> dict[str, float]:
        now = perf_counter()
        done = job.done or now  # a future wakes us before it calls back
        times = (
            1000 * (job.taken - captured),
            1000 * (job.ready - job.taken),
            1000 * (done - job.ready),
            1000 * (now - captured),
        )
        self._latencies.append(times)
        return dict(zip(STAGES, times, strict=True))
