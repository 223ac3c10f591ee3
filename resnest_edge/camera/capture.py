"""The thread of one source: it opens, captures, notices what is lost, and opens again."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from time import perf_counter

import numpy as np

from resnest_edge.camera.base import Frame, SourceState
from resnest_edge.camera.intake import Intake
from resnest_edge.camera.sources import Damage, Picture, Source
from resnest_edge.camera.worker import Shared, Worker
from resnest_edge.errors import InputError, ResnestEdgeError, UnavailableError


@dataclass(frozen=True)
class CapturePolicy:
    """How long a source is waited for, and how often it is opened again.

    Attributes:
        stall: seconds without a picture after which a source counts as stalled, and is interrupted.
        retries: failed attempts in a row after which a source is given up; None never gives up.
        backoff: seconds before the first new attempt; they double with each that follows.
        most: seconds before a new attempt at most.
        frames: pictures after which a source has ended; None for no limit.
    """

    stall: float = 10.0
    retries: int | None = None
    backoff: float = 0.5
    most: float = 30.0
    frames: int | None = None

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds before an attempt (from 1): exponential, and by ``chance`` (0 to 1) half of it is left away.

        Cameras that were lost together, by a switch that restarts, do not come back all at one moment.
        """
        full = min(self.most, self.backoff * 2.0 ** min(attempt - 1, 60))
        return full * (1.0 - chance / 2)


class Capture(Worker):
    """Captures one source into the intake until it ends, fails for good, or is told to stop.

    Args:
        source: what to capture.
        intake: where frames go.
        policy: patience and retries.
        shared: see :class:`Worker`; told of what is lost, and found again.
    """

    def __init__(self, source: Source, intake: Intake, policy: CapturePolicy, shared: Shared) -> None:
        super().__init__(f"source {source.name}", shared)
        self.source = source
        self.error: ResnestEdgeError | None = None
        self._intake, self._policy = intake, policy
        self._stopping = threading.Event()
        self._chance = np.random.default_rng()
        self._captured = 0
        self._refused = False
        self._watch = threading.Lock()
        self._asked: float | None = None  # since when a picture is waited for; None while none is
        self._stalled = False

    def work(self) -> None:
        """Until the source has ended, or failed for good."""
        state = SourceState.FAILED
        try:
            state = self._follow()
        finally:
            self._account.set_state(self.source.name, state)
            self._intake.end(self.source.name)

    def stop(self) -> None:
        """End soon; to be called again until the thread has ended, since a source that just opens may miss it."""
        self._stopping.set()
        self.source.interrupt()

    def abandon(self) -> bool:
        """Give up a source that hangs: what it may still give is refused. False if it does not hang."""
        with self._watch:
            if self._asked is None:
                return False
            self._asked = None
        self.error = UnavailableError("it did not stop when it was told to", where=self.source.name)
        self._account.set_state(self.source.name, SourceState.FAILED)
        self._intake.end(self.source.name)
        return True

    def check(self, now: float) -> None:
        """The watchdog: interrupt a source that gives no picture; ``now`` is ``time.perf_counter()``."""
        with self._watch:
            if self._asked is None or now - self._asked < self._policy.stall:
                return
            self._asked = now  # should the interruption be missed, there is another after as long
            first, self._stalled = not self._stalled, True
            self._account.set_state(self.source.name, SourceState.STALLED)
        if first:
            self._tell(f"{self.source.name}: no picture within {self._policy.stall:g} s")
        self.source.interrupt()

    def _follow(self) -> SourceState:
        attempt = 0
        while True:
            before = self._captured
            error = self._read()
            if self._over():
                return SourceState.ENDED
            error = error or self._why_it_ended()
            if error is None:
                return SourceState.ENDED
            attempt = 1 if self._captured > before else attempt + 1
            retries = self._policy.retries
            final = isinstance(error, InputError) or not self.source.endless
            if final or (retries is not None and attempt > retries):
                return self._give_up(error)
            if not self._back_off(attempt, error):
                return SourceState.ENDED

    def _read(self) -> ResnestEdgeError | None:
        """Capture until the iteration ends; what it ended with, if that was an error."""
        self._stalled = False
        self._expect()
        streaming = False
        try:
            with closing(self.source.frames()) as items:
                for item in items:
                    if self._stopping.is_set():
                        return None
                    if isinstance(item, Damage):
                        self._account.count(self.source.name, "corrupt")
                        continue
                    resumed = self._rest()
                    if resumed or not streaming:
                        self._begin(item, opened=not streaming)
                        streaming = True
                    self._put(item)
                    if self._over():
                        return None
                    self._expect()
        except (InputError, UnavailableError) as exc:
            return exc
        finally:
            self._rest()
        return None

    def _begin(self, picture: Picture, *, opened: bool) -> None:
        if opened:
            self._shared.begins[self.source.name].append(self._captured)
            height, width = picture.image.shape[:2]
            self._tell(f"{self.source.name}: streaming, {width}×{height}")
        self._account.set_state(self.source.name, SourceState.STREAMING)

    def _put(self, picture: Picture) -> None:
        frame = Frame(
            source=self.source.name,
            frame_id=self._captured,
            captured_at=datetime.now(timezone.utc),
            captured=perf_counter(),
            image=picture.image,
            name=picture.name,
        )
        self._captured += 1
        self._refused = not self._intake.put(frame, live=self.source.live)

    def _expect(self) -> None:
        with self._watch:
            self._asked = perf_counter()

    def _rest(self) -> bool:
        """Nothing is waited for now; whether the source had stalled before."""
        with self._watch:
            stalled = self._stalled and self._asked is not None
            self._asked = None
            return stalled

    def _over(self) -> bool:
        limit = self._policy.frames
        return self._stopping.is_set() or self._refused or (limit is not None and self._captured >= limit)

    def _why_it_ended(self) -> ResnestEdgeError | None:
        if self._stalled:
            return UnavailableError(f"no picture within {self._policy.stall:g} s", where=self.source.name)
        return UnavailableError("the stream ended", where=self.source.name) if self.source.endless else None

    def _give_up(self, error: ResnestEdgeError) -> SourceState:
        self.error = error
        self._tell(f"{self.source.name}: given up: {error}")
        return SourceState.FAILED

    def _back_off(self, attempt: int, error: ResnestEdgeError) -> bool:
        """Wait before the next attempt; False if told to stop meanwhile."""
        delay = self._policy.delay(attempt, float(self._chance.random()))
        self._account.set_state(self.source.name, SourceState.RECONNECTING)
        self._tell(f"{self.source.name}: lost ({error.what}); opening it again in {delay:.1f} s")
        if self._stopping.wait(delay):
            return False
        self._account.count(self.source.name, "reconnects")
        return True
