from __future__ import annotations

import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from resnest_edge.backends.base import Outputs, SessionOptions
from resnest_edge.errors import BundleMisfitError
from resnest_edge.measure.worker import Cell
from tests.measure.fakes import ScriptedSession

INPUT = np.zeros((2, 8, 8, 3), dtype=np.uint8)


class MeetingSession(ScriptedSession):
    """Answers the first two inferences of each stream only when all streams are in flight together."""

    def __init__(self, streams: int) -> None:
        super().__init__({}, SessionOptions(batch=2, streams=streams))
        self._meeting = threading.Barrier(streams)
        self._left = 2 * streams
        self._turn = threading.Lock()

    def submit(self, images: npt.NDArray[Any]) -> Future[Outputs]:
        with self._turn:
            meet = self._left > 0
            self._left -= 1
        if meet:
            self._meeting.wait(timeout=20)
        return super().submit(images)


@pytest.mark.parametrize("streams", [1, 2, 5])
def test_all_streams_are_in_flight_together(streams: int) -> None:
    with MeetingSession(streams) as session:
        measured = Cell(session, [INPUT]).measure(1e-6)
    assert len(measured["latencies_ms"]) == streams  # one each, however short the slice; the first is not counted
    assert measured["images"] == 2 * streams


def test_time_runs_from_first_submit_to_last_result(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 10.25, 10.5, 11.0])  # start, then the end of each inference
    monkeypatch.setattr("resnest_edge.measure.worker.time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    with ScriptedSession({}, SessionOptions(batch=2)) as session:
        measured = Cell(session, [INPUT]).measure(0.75)
    assert measured == {"latencies_ms": [250.0, 250.0, 500.0], "seconds": 1.0, "images": 6}


def test_an_error_of_one_stream_is_the_error_of_the_slice() -> None:
    session = ScriptedSession({"on_submit": "misfit"}, SessionOptions(batch=2, streams=3))
    with session, pytest.raises(BundleMisfitError, match="built for another machine"):
        Cell(session, [INPUT]).measure(0.01)
