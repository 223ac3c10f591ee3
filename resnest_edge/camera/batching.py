"""The thread between the queues and the engine: it gathers frames, makes them inputs, and keeps the engine busy."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Queue
from time import perf_counter

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.base import Outputs
from resnest_edge.camera.base import Frame
from resnest_edge.camera.engine import CameraEngine
from resnest_edge.camera.intake import Intake
from resnest_edge.camera.worker import Shared, Worker
from resnest_edge.errors import ImageError
from resnest_edge.images import transform

AHEAD = 2
"""Inferences that may wait for their answers to be taken: enough to keep an engine busy, and latency low."""


@dataclass
class Job:
    """Frames on their way through the engine, with ``time.perf_counter()`` where they passed.

    Attributes:
        frames: in the order of the answers; an answer beyond them is padding.
        taken: when they left the queues.
        ready: when they were inputs.
        future: the answers.
        bundle: which engine answers.
        done: when it had.
    """

    frames: list[Frame]
    taken: float
    ready: float
    future: Future[Outputs]
    bundle: str
    done: float = 0.0


Pending = Queue[Job | CameraEngine | None]
"""Jobs in the order of their frames; an engine that has answered its last one; None at the end."""


class Batcher(Worker):
    """Feeds one engine from all queues, and changes it between two batches when asked.

    Args:
        engine: the one to begin with; it and those that follow are handed on to ``pending`` when they are done.
        intake: where frames come from.
        pending: where jobs go.
        window: seconds that a frame may wait for company.
        shared: see :class:`Worker`; told, once, that a frame cannot be made an input.
    """

    def __init__(
        self, engine: CameraEngine, intake: Intake, pending: Pending, *, window: float, shared: Shared
    ) -> None:
        super().__init__("batcher", shared)
        self._engine, self._intake, self._pending, self._window = engine, intake, pending, window
        self._told = False
        self._lock = threading.Lock()
        self._next: CameraEngine | None = None
        self._ended = False

    def take_over(self, engine: CameraEngine) -> bool:
        """Use ``engine`` from the next batch on; False, and it is the caller's to close, when the run is over."""
        with self._lock:
            if self._ended:
                return False
            replaced, self._next = self._next, engine
        if replaced is not None:
            replaced.close()
        return True

    def work(self) -> None:
        """Until every source has ended and its frames are under way."""
        try:
            while frames := self._intake.take(self._engine.batch, self._window):
                self._change_engine()
                self._process(frames)
        finally:
            with self._lock:
                self._ended = True
            self._change_engine()
            self._pending.put(self._engine)
            self._pending.put(None)

    def _change_engine(self) -> None:
        with self._lock:
            engine, self._next = self._next, None
        if engine is not None:
            self._pending.put(self._engine)  # behind its last job: it is closed when that has been answered
            self._engine = engine

    def _process(self, frames: list[Frame]) -> None:
        taken = perf_counter()
        counted = 0
        try:
            while counted < len(frames):
                part = frames[counted : counted + self._engine.part(len(frames) - counted)]
                self._submit(part, taken)
                counted += len(part)
        finally:  # of a bug: nobody else knows of these frames any more
            for frame in frames[counted:]:
                self._account.count(frame.source, "failed")

    def _submit(self, frames: list[Frame], taken: float) -> None:
        good, images = self._prepare(frames)
        if not good:
            return
        ready = perf_counter()
        job = Job(good, taken, ready, self._engine.submit(images), self._engine.name)
        job.future.add_done_callback(lambda _: setattr(job, "done", perf_counter()))
        self._pending.put(job)

    def _prepare(self, frames: list[Frame]) -> tuple[list[Frame], npt.NDArray[np.uint8]]:
        preprocessing = self._engine.contract.preprocessing
        side = preprocessing.image_size
        images = np.empty((len(frames), side, side, 3), np.uint8)
        good: list[Frame] = []
        for frame in frames:
            try:
                images[len(good)] = transform(frame.image, preprocessing)
            except ImageError as exc:
                self._account.count(frame.source, "failed")
                if not self._told:
                    self._tell(f"{frame.source}: frame {frame.frame_id} cannot be classified: {exc}")
                    self._told = True
                continue
            good.append(frame)
        return good, images[: len(good)]
