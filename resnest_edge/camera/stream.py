"""The stream: every source's frames through one engine to every sink, with an account that closes.

    source ─thread─▶ queue ─┐                ┌─▶ sink
    source ─thread─▶ queue ─┼─batcher─▶ engine ─delivery─┼─▶ sink
    source ─thread─▶ queue ─┘   (thread)       (thread)  └─▶ sink

The thread that calls :meth:`Stream.run` supervises: it watches for stalled sources and takes commands.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter

from resnest_edge.camera.account import Account
from resnest_edge.camera.base import Sink, SourceCounts
from resnest_edge.camera.batching import AHEAD, Batcher, Pending
from resnest_edge.camera.capture import Capture, CapturePolicy
from resnest_edge.camera.delivery import Answering, Delivery
from resnest_edge.camera.engine import CameraEngine
from resnest_edge.camera.intake import Intake
from resnest_edge.camera.outlets import Outlets
from resnest_edge.camera.sources import Source
from resnest_edge.camera.summary import Summary
from resnest_edge.camera.worker import Shared
from resnest_edge.errors import BundleMisfitError, ResnestEdgeError, UsageError

_TICK = 0.25
_PATIENCE = 5.0
_STOP, _FINISHED = "stop", "finished"


@dataclass(frozen=True)
class StreamOptions:
    """How a stream runs.

    Attributes:
        queue: frames of a source that may wait for the engine.
        window_ms: milliseconds that a frame may wait for company in its batch.
        capture: patience with sources, and limits.
        duration: seconds after which the run ends; None for no limit.
        strict_sinks: whether the first result that a sink cannot take ends the run.
        status_every: seconds between two accounts for the sinks.
    """

    queue: int = 4
    window_ms: float = 2.0
    capture: CapturePolicy = field(default_factory=CapturePolicy)
    duration: float | None = None
    strict_sinks: bool = False
    status_every: float = 1.0


class Stream:
    """Runs once. :meth:`stop`, :meth:`swap` and :meth:`counts` may be called from any thread.

    Args:
        engine: to begin with; the stream closes it.
        sources: not opened yet; their names are unique.
        answering: from probabilities to answers.
        sinks: closed at the end of the run.
        options: limits and patience.
        load: opens the bundle that :meth:`swap` is given.
        tell: told, from several threads, what a person would want to know: losses, recoveries, swaps.
    """

    def __init__(
        self,
        engine: CameraEngine,
        sources: Sequence[Source],
        answering: Answering,
        sinks: Sequence[Sink],
        options: StreamOptions | None = None,
        *,
        load: Callable[[Path], CameraEngine] | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._options = options or StreamOptions()
        self._contract, self._load, self._tell = engine.contract, load, tell
        names = [source.name for source in sources]
        if not names or len(set(names)) < len(names):
            raise UsageError(f"a stream needs sources, each with its own name, not {names}")
        self._commands: SimpleQueue[str | Path] = SimpleQueue()  # its put() may be called by a signal handler
        self._crash: Exception | None = None
        self._swapping, self._swaps = threading.Lock(), 0
        self._helpers: list[threading.Thread] = []
        self._account = Account(names)
        shared = Shared(self._account, tell, self._crashed)
        queue, pending = self._options.queue, Pending(AHEAD)
        self._intake = Intake(names, length=queue, room=max(queue, engine.batch), account=self._account)
        self._outlets = Outlets(sinks, tell, strict=self._options.strict_sinks)
        self._captures = [Capture(source, self._intake, self._options.capture, shared) for source in sources]
        window = self._options.window_ms / 1000
        self._batcher = Batcher(engine, self._intake, pending, window=window, shared=shared)
        self._delivery = Delivery(
            pending,
            answering,
            self._outlets,
            every=self._options.status_every,
            shared=shared,
            finished=lambda: self._commands.put(_FINISHED),
        )

    def run(self) -> Summary:
        """Run until every source has ended or failed for good, the time is over, or :meth:`stop`.

        Whatever was captured is answered and handed to the sinks first.

        Returns:
            The account, and the errors of sources and sinks that failed.

        Raises:
            UnavailableError: the engine failed on every batch.
            OutputError: a sink failed, and ``strict_sinks`` is set.
        """
        started = perf_counter()
        for worker in (self._delivery, self._batcher, *self._captures):
            worker.start()
        try:
            self._supervise(started)
        except BaseException:  # a second Ctrl-C: nothing is waited for
            self._intake.abandon()
            for capture in self._captures:
                capture.stop()
            raise
        for thread in (self._batcher, self._delivery, *self._helpers):
            thread.join()
        if self._crash is not None:
            raise self._crash
        return self._summary(perf_counter() - started)

    def stop(self) -> None:
        """Capture no more, answer what was captured, and end; a signal handler may call it."""
        self._commands.put(_STOP)

    def swap_soon(self, path: Path) -> None:
        """Ask for :meth:`swap` and go on; what comes of it is told. A signal handler may call it."""
        self._commands.put(path)

    def swap(self, path: Path) -> None:
        """Load another bundle and let it take over between two batches; no frame is lost to it.

        Raises:
            BundleMisfitError: its classes, preprocessing or input format differ; the message says how.
            BundleError, UnavailableError: it cannot be loaded. In both cases the old engine goes on.
            UsageError: the run is over, or nothing was given to load bundles with.
        """
        if self._load is None:
            raise UsageError("this stream was made without a way to load bundles", hint="Give Stream a load=.")
        with self._swapping:
            engine = self._load(path)
            if differences := self._contract.differences(engine.contract):
                engine.close()
                raise BundleMisfitError(
                    f"it cannot take over from the engine that runs: {'; '.join(differences)}",
                    where=path,
                    hint="Start another run with it.",
                )
            if not self._batcher.take_over(engine):
                engine.close()
                raise UsageError("the run is over", where=path)
            self._swaps += 1

    def counts(self) -> dict[str, SourceCounts]:
        """Every source's account now."""
        return self._account.snapshot()

    def _supervise(self, started: float) -> None:
        stopping: float | None = None
        tick = min(_TICK, self._options.capture.stall / 4)
        while (command := self._command(tick)) != _FINISHED:
            now = perf_counter()
            late = self._options.duration is not None and now - started >= self._options.duration
            if isinstance(command, Path):
                self._swap_aside(command)
            elif stopping is None and (command == _STOP or late):
                stopping = now
            for capture in self._captures:
                if not capture.is_alive():
                    continue
                if stopping is None:
                    capture.check(now)
                    continue
                capture.stop()
                if now - stopping > _PATIENCE and capture.abandon():
                    self._tell(f"{capture.source.name}: it did not stop within {_PATIENCE:g} s, and is left behind")

    def _command(self, tick: float) -> str | Path | None:
        try:
            return self._commands.get(timeout=tick)
        except Empty:
            return None

    def _swap_aside(self, path: Path) -> None:
        def swap() -> None:
            try:
                self.swap(path)
            except ResnestEdgeError as exc:
                self._tell(f"the engine stays: {exc}")
            except Exception as exc:  # noqa: BLE001 - a bundle that a runtime chokes on must not end the cameras' run
                self._tell(f"the engine stays: {type(exc).__name__}: {exc}")
            else:
                self._tell(f"the engine is now {path}")

        self._helpers = [thread for thread in self._helpers if thread.is_alive()]
        self._helpers.append(threading.Thread(target=swap, name="swap", daemon=True))
        self._helpers[-1].start()

    def _crashed(self, exc: Exception) -> None:
        self._crash = self._crash or exc
        self._intake.abandon()
        self._commands.put(_STOP)

    def _summary(self, seconds: float) -> Summary:
        return Summary(
            seconds=seconds,
            sources=self._account.snapshot(),
            sinks=self._outlets.counts(),
            latency_ms=self._delivery.latency_ms(),
            swaps=self._swaps,
            source_errors={capture.source.name: capture.error for capture in self._captures if capture.error},
            sink_error=self._outlets.error,
        )
