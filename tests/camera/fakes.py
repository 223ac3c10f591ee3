"""Sources that follow a script, engines that read the stamp of a picture, and sinks that remember or refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.base import Outputs, Session, SessionOptions
from resnest_edge.camera.base import Answer, CameraResult, SourceCounts, SourceState
from resnest_edge.camera.engine import CameraEngine, Contract
from resnest_edge.camera.sources import Damage, Picture
from resnest_edge.camera.stream import Stream
from resnest_edge.camera.summary import Summary
from resnest_edge.errors import OutputError
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Precision, Preprocessing
from tests.support.video import read_stamp, stamped

SIDE = 16
CLASSES = 512
LABELS = tuple(f"number {index}" for index in range(CLASSES))
PREPROCESSING = Preprocessing(image_size=SIDE, resize=SIDE)

Item = Picture | Damage
Script = Callable[[int], Iterable[Item]]


def info(batch: str = "1:1:8", input_format: InputFormat = InputFormat.UINT8_NHWC) -> GraphInfo:
    return GraphInfo(
        "fake", Precision.FP32, Precision.FP32, None, 8, input_format, BatchRange.parse(batch), SIDE, CLASSES
    )


class StampSession(Session):
    """Is sure of the class that a picture's stamp spells; ``behave`` is called before each inference."""

    def __init__(self, batch: int = 1, behave: Callable[[], object] = lambda: None, graph: GraphInfo | None = None):
        super().__init__(graph or info(), SessionOptions(batch=batch))
        self._behave, self._pool = behave, ThreadPoolExecutor(1)
        self._free = threading.Semaphore(1)
        self.submitted, self.closed = 0, 0

    def submit(self, images: npt.NDArray[Any]) -> Future[Outputs]:
        assert not self.closed, "an engine that was closed is used"
        self._check(images)
        assert len(images) == self.options.batch
        self._free.acquire()
        self.submitted += 1
        return self._pool.submit(self._answer, images)

    def _answer(self, images: npt.NDArray[Any]) -> Outputs:
        try:
            self._behave()
        finally:
            self._free.release()
        pictures = images.transpose(0, 2, 3, 1) if self.info.input_format is InputFormat.FLOAT_NCHW else images
        probabilities = np.zeros((len(images), CLASSES), np.float32)
        for row, picture in enumerate(pictures):
            probabilities[row, read_stamp(picture.astype(np.uint8)) % CLASSES] = 1.0
        return Outputs(probabilities, probabilities)

    def timings(self) -> dict[str, float]:
        return {}

    def effective_settings(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self.closed += 1
        self._pool.shutdown()


def engine(
    batches: Sequence[int] = (1,), behave: Callable[[], object] = lambda: None, name: str = "fake", **contract: Any
) -> CameraEngine:
    kept = {"labels": LABELS, "preprocessing": PREPROCESSING, "input_format": InputFormat.UINT8_NHWC, **contract}
    return CameraEngine(name, Contract(**kept), {batch: StampSession(batch, behave) for batch in batches})


def sessions(of: CameraEngine) -> list[StampSession]:
    return [session for session in of._sessions.values() if isinstance(session, StampSession)]


class ScriptedSource:
    """Gives what ``script(opening)`` gives; opening counts from 0. Ends when interrupted, unless it is deaf."""

    def __init__(
        self, name: str, script: Script, *, live: bool = False, endless: bool = False, deaf: bool = False
    ) -> None:
        self.name, self.live, self.endless = name, live, endless
        self._script, self._deaf = script, deaf
        self.openings, self.freed = 0, 0
        self.stopped = threading.Event()

    def frames(self) -> Generator[Picture | Damage, None, None]:
        self.stopped.clear()
        self.openings += 1
        try:
            for item in self._script(self.openings - 1):
                if self.stopped.is_set() and not self._deaf:
                    return
                yield item
        finally:
            self.freed += 1

    def interrupt(self) -> None:
        self.stopped.set()


def pictures(count: int, first: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> list[Item]:
    return [Picture(stamped(number, *size)) for number in range(first, first + count)]


def file_source(name: str, count: int, first: int = 0) -> ScriptedSource:
    return ScriptedSource(name, lambda _: (Picture(stamped(first + number, SIDE, SIDE)) for number in range(count)))


class Best:
    """The one most probable class."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def __call__(self, source: str, probabilities: npt.NDArray[np.float32]) -> tuple[Answer, ...]:
        index = int(probabilities.argmax())
        return (Answer(index, LABELS[index], float(probabilities[index])),)

    def forget(self, source: str) -> None:
        self.forgotten.append(source)


class Kept:
    """Remembers everything, from one thread; but not the pixels, if it is to be ``light``."""

    def __init__(
        self, name: str = "kept", react: Callable[[CameraResult], None] = lambda _: None, *, light: bool = False
    ) -> None:
        self.name, self._react, self._light = name, react, light
        self.results: list[CameraResult] = []
        self.statuses: list[dict[str, SourceCounts]] = []
        self.closed = 0
        self._threads: set[int] = set()

    def write(self, result: CameraResult) -> None:
        self._threads.add(threading.get_ident())
        assert len(self._threads) == 1 and not self.closed
        frame = replace(result.frame, image=np.empty((0, 0, 3), np.uint8)) if self._light else result.frame
        self.results.append(replace(result, frame=frame))
        self._react(result)

    def status(self, counts: Mapping[str, SourceCounts]) -> None:
        self._threads.add(threading.get_ident())
        assert len(self._threads) == 1 and not self.closed
        self.statuses.append(dict(counts))

    def close(self) -> None:
        self.closed += 1

    def answered(self, source: str) -> list[int]:
        """The class named for each frame of a source, in the order of the results."""
        return [result.answers[0].index for result in self.results if result.frame.source == source]

    def ids(self, source: str) -> list[int]:
        return [result.frame.frame_id for result in self.results if result.frame.source == source]


class FullDisk:
    """Takes ``room`` results and then no more."""

    name = "full"

    def __init__(self, room: int) -> None:
        self.room, self.closed = room, 0

    def write(self, result: CameraResult) -> None:
        if self.room == 0:
            raise OutputError("the disk is full", where="results.jsonl")
        self.room -= 1

    def status(self, counts: Mapping[str, SourceCounts]) -> None: ...

    def close(self) -> None:
        self.closed += 1


def balanced(summary: Summary) -> bool:
    """Whether the account of every source closes, exactly, and none is in a state that is not final."""
    return all(
        counts.captured == counts.inferred + counts.dropped + counts.failed
        and counts.state in (SourceState.ENDED, SourceState.FAILED)
        for counts in summary.sources.values()
    )


def run(stream: Stream, limit: float = 30.0) -> Summary:
    """Run a stream in another thread, so that a deadlock is a failure and not a hung test."""
    found: list[Summary | Exception] = []

    def target() -> None:
        try:
            found.append(stream.run())
        except Exception as exc:  # noqa: BLE001 - raised below, in the test's own thread
            found.append(exc)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(limit)
    assert found, f"the stream did not end within {limit:g} s: {stream.counts()}"
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]
