"""The queues on their own: turns, company, the end of sources, and what is counted when."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from time import perf_counter

import numpy as np

from resnest_edge.camera.account import Account
from resnest_edge.camera.base import Frame
from resnest_edge.camera.intake import Intake


def frame(source: str, number: int) -> Frame:
    return Frame(source, number, datetime.now(timezone.utc), perf_counter(), np.zeros((1, 1, 3), np.uint8))


def intake(*names: str, length: int = 3, room: int = 5) -> tuple[Intake, Account]:
    account = Account(names)
    return Intake(names, length=length, room=room, account=account), account


def taken(queues: Intake, most: int, window: float = 0.0) -> list[tuple[str, int]]:
    return [(item.source, item.frame_id) for item in queues.take(most, window)]


def test_sources_take_turns_and_the_oldest_goes_first() -> None:
    queues, _ = intake("a", "b", "c")
    for name, count in (("a", 4), ("b", 1), ("c", 2)):
        for number in range(count):
            queues.put(frame(name, number), live=False)
    assert taken(queues, 2) == [("a", 0), ("b", 0)]
    assert taken(queues, 2) == [("c", 0), ("a", 1)], "who was served goes to the end of the line"
    assert taken(queues, 8) == [("c", 1), ("a", 2), ("a", 3)]


def test_only_live_frames_give_way() -> None:
    queues, account = intake("cam", length=2)
    for number in range(6):
        assert queues.put(frame("cam", number), live=True)
    assert taken(queues, 9) == [("cam", 4), ("cam", 5)]
    assert account.snapshot()["cam"].dropped == 4


def test_a_file_waits_for_room() -> None:
    queues, account = intake("file", room=2)
    numbers = iter(range(5))
    thread = threading.Thread(target=lambda: [queues.put(frame("file", number), live=False) for number in numbers])
    thread.start()
    found = [item for _ in range(5) for item in taken(queues, 1, window=0.0)]
    thread.join(10)
    assert found == [("file", number) for number in range(5)] and account.snapshot()["file"].dropped == 0


def test_a_frame_waits_for_company_only_while_a_source_has_none() -> None:
    queues, _ = intake("a", "b")
    queues.put(frame("a", 0), live=True)
    timer = threading.Timer(0.05, lambda: queues.put(frame("b", 0), live=True))
    timer.start()
    assert taken(queues, 2, window=30.0) == [("a", 0), ("b", 0)], "company came long before the window ended"
    queues.put(frame("a", 1), live=True)
    assert taken(queues, 2, window=0.05) == [("a", 1)], "the window ended"
    queues.put(frame("a", 2), live=True)
    queues.put(frame("b", 1), live=True)
    assert sorted(taken(queues, 8, window=30.0)) == [("a", 2), ("b", 1)], "each has one here: nothing is waited for"
    queues.end("b")
    queues.put(frame("a", 3), live=True)
    assert taken(queues, 8, window=30.0) == [("a", 3)]


def test_the_end_of_a_source() -> None:
    queues, account = intake("a", "b")
    queues.put(frame("a", 0), live=False)
    queues.end("a")
    assert not queues.put(frame("a", 1), live=False), "refused, and not counted"
    assert account.snapshot()["a"].captured == 1
    assert taken(queues, 4) == [("a", 0)], "what waited is still handed out"
    queues.end("b")
    assert taken(queues, 4) == []


def test_abandoning_counts_what_waits_and_frees_who_waits() -> None:
    queues, account = intake("a", room=1)
    queues.put(frame("a", 0), live=False)
    accepted: list[bool] = []
    thread = threading.Thread(target=lambda: accepted.append(queues.put(frame("a", 1), live=False)))
    thread.start()
    while account.snapshot()["a"].captured < 2:
        pass
    queues.abandon()
    thread.join(10)
    assert accepted == [False] and taken(queues, 4) == []
    counts = account.snapshot()["a"]
    assert (counts.captured, counts.failed) == (2, 2)
