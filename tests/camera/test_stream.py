"""The stream as a whole, with sources and engines that do as they are told: order, batches, drops, and the account."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from time import sleep

import numpy as np
import pytest

from resnest_edge.camera.base import SourceState
from resnest_edge.camera.capture import CapturePolicy
from resnest_edge.camera.delivery import MAX_FAILURES, STAGES
from resnest_edge.camera.sources import Picture
from resnest_edge.camera.stream import Stream, StreamOptions
from resnest_edge.errors import InputError, OutputError, UnavailableError, UsageError
from tests.camera.fakes import (
    Best,
    FullDisk,
    Item,
    Kept,
    ScriptedSource,
    balanced,
    engine,
    file_source,
    pictures,
    run,
    sessions,
)
from tests.support.video import stamped


def test_files_wait_and_every_frame_is_answered_in_order() -> None:
    kept, used = Kept(), engine((1, 2, 4, 8))
    names = ["a", "b", "c"]
    sources = [file_source(name, 100, first=100 * place) for place, name in enumerate(names)]
    summary = run(Stream(used, sources, Best(), [kept]))
    for place, name in enumerate(names):
        assert kept.answered(name) == list(range(100 * place, 100 * place + 100))
        assert kept.ids(name) == list(range(100))
        counts = summary.sources[name]
        assert (counts.captured, counts.inferred, counts.dropped, counts.failed) == (100, 100, 0, 0)
        assert counts.state is SourceState.ENDED
    assert summary.error is None and kept.closed == 1
    assert kept.statuses[-1] == dict(summary.sources), "the sinks are told the final account"
    assert all(session.closed == 1 for session in sessions(used))
    assert all(source.freed == source.openings == 1 for source in sources)


def test_frames_of_several_sources_share_batches() -> None:
    gate = threading.Event()
    used = engine((1, 2, 4), behave=lambda: gate.wait(10))
    stream = Stream(used, [file_source(name, 4) for name in "abcd"], Best(), [Kept()])
    timer = threading.Timer(0.3, gate.set)
    timer.start()
    summary = run(stream)
    one, two, four = (session.submitted for session in sessions(used))
    assert sum(counts.inferred for counts in summary.sources.values()) == one + 2 * two + 4 * four == 16
    assert four >= 2, "what gathered while the engine was busy went in large batches"


def test_a_live_source_drops_the_oldest_and_counts_them() -> None:
    gate, done = threading.Event(), threading.Event()

    def flood(_: int) -> Iterable[Item]:
        yield from pictures(50)
        gate.set()
        done.wait(10)

    kept = Kept(react=lambda result: done.set() if result.frame.frame_id == 49 else None)
    used = engine(behave=lambda: gate.wait(10))
    source = ScriptedSource("cam", flood, live=True)
    summary = run(Stream(used, [source], Best(), [kept], StreamOptions(queue=3)))
    counts = summary.sources["cam"]
    assert counts.captured == 50 and balanced(summary)
    assert counts.dropped >= 50 - 3 - 4 and counts.failed == 0
    assert kept.ids("cam")[-3:] == [47, 48, 49], "the newest frames are the ones that stay"
    assert kept.answered("cam") == kept.ids("cam") == sorted(kept.ids("cam"))


def test_latencies_are_of_every_stage_and_add_up() -> None:
    kept = Kept()
    summary = run(Stream(engine(behave=lambda: sleep(0.01)), [file_source("a", 20)], Best(), [kept]))
    assert set(summary.latency_ms) == set(STAGES)
    for result in kept.results:
        parts = dict(result.latency_ms)
        assert all(value >= 0 for value in parts.values())
        assert parts["infer"] >= 10
        assert parts["queue"] + parts["preprocess"] + parts["infer"] <= parts["total"] + 1e-6


def test_pictures_that_cannot_be_made_an_input_fail_alone() -> None:
    odd = Picture(np.zeros((0, 4, 3), np.uint8))
    source = ScriptedSource("a", lambda _: [*pictures(3), odd, *pictures(3, first=3)])
    kept, told = Kept(), list[str]()
    summary = run(Stream(engine((1, 2)), [source], Best(), [kept], tell=told.append))
    assert kept.answered("a") == [0, 1, 2, 3, 4, 5] and kept.ids("a") == [0, 1, 2, 4, 5, 6]
    assert summary.sources["a"].failed == 1 and balanced(summary)
    assert any("frame 3 cannot be classified" in text for text in told)


def test_a_change_of_resolution_in_mid_stream() -> None:
    sizes = [(16, 16), (160, 120), (48, 96)]
    items = [item for place, size in enumerate(sizes) for item in pictures(5, first=5 * place, size=size)]
    kept = Kept()
    run(Stream(engine(), [ScriptedSource("a", lambda _: items)], Best(), [kept]))
    assert [result.frame.image.shape[:2] for result in kept.results[::5]] == [(16, 16), (120, 160), (96, 48)]
    assert kept.answered("a")[:10] == list(range(10))  # the third shape loses blocks to the centre crop


def test_inference_that_fails_sometimes_is_counted() -> None:
    calls = iter(range(1000))

    def sometimes() -> None:
        if next(calls) % 3 == 1:
            raise RuntimeError("out of memory")

    told: list[str] = []
    kept = Kept()
    summary = run(Stream(engine(behave=sometimes), [file_source("a", 30)], Best(), [kept], tell=told.append))
    assert summary.sources["a"].failed == 10 and summary.sources["a"].inferred == 20 and balanced(summary)
    assert kept.answered("a") == [number for number in range(30) if number % 3 != 1]
    assert any("out of memory" in text for text in told)


def test_an_engine_that_always_fails_is_given_up() -> None:
    def always() -> None:
        raise RuntimeError("the device is lost")

    used, kept = engine(behave=always), Kept()
    stream = Stream(used, [file_source("a", 10_000), file_source("b", 10_000)], Best(), [kept])
    with pytest.raises(UnavailableError, match="the device is lost"):
        run(stream)
    for counts in stream.counts().values():
        assert counts.captured == counts.failed and counts.inferred == 0
    assert sessions(used)[0].submitted <= MAX_FAILURES + 4 and sessions(used)[0].closed == 1
    assert kept.closed == 1


def test_a_full_disk_loses_nothing_but_the_lines() -> None:
    kept, full, told = Kept(), FullDisk(room=7), list[str]()
    summary = run(Stream(engine(), [file_source("a", 50)], Best(), [full, kept], tell=told.append))
    assert summary.sources["a"].inferred == 50 == len(kept.results) and balanced(summary)
    assert [(sink.written, sink.failed) for sink in summary.sinks] == [(7, 43), (50, 0)]
    assert isinstance(summary.error, OutputError) and "the disk is full" in str(summary.error)
    assert len([text for text in told if "full" in text]) == 1, "told once, not 43 times"


def test_a_sink_that_recovers_says_so() -> None:
    full, told = FullDisk(room=5), list[str]()

    def free_the_disk(result: object) -> None:
        if full.room == 0 and len(kept.results) == 20:
            full.room = 100

    kept = Kept(react=free_the_disk)
    summary = run(Stream(engine(), [file_source("a", 30)], Best(), [full, kept], tell=told.append))
    assert summary.sinks[0].failed == 15 and summary.sinks[0].written == 15
    assert any("15 results are lost" in text for text in told)


def test_strict_sinks_end_the_run() -> None:
    kept = Kept()
    stream = Stream(engine(), [file_source("a", 10_000)], Best(), [FullDisk(3), kept], StreamOptions(strict_sinks=True))
    with pytest.raises(OutputError, match="full"):
        run(stream)
    counts = stream.counts()["a"]
    assert counts.captured == counts.inferred + counts.dropped + counts.failed < 100
    assert kept.closed == 1


def test_a_bug_in_a_sink_ends_the_run_and_is_raised() -> None:
    def buggy(_: object) -> None:
        raise ZeroDivisionError("a bug")

    stream = Stream(engine((1, 4)), [file_source("a", 1000)], Best(), [Kept(react=buggy)])
    with pytest.raises(ZeroDivisionError):
        run(stream)
    counts = stream.counts()["a"]
    assert counts.captured == counts.inferred + counts.dropped + counts.failed


def test_a_bug_in_a_source_ends_the_run_and_is_raised() -> None:
    def buggy(_: int) -> Iterable[Item]:
        yield from pictures(3)
        raise ZeroDivisionError("a bug")

    stream = Stream(engine(), [ScriptedSource("a", buggy), file_source("b", 100_000)], Best(), [Kept()])
    with pytest.raises(ZeroDivisionError):
        run(stream)
    assert stream.counts()["a"].state is SourceState.FAILED


def test_limits_of_frames_and_time() -> None:
    policy = CapturePolicy(frames=7)
    endless = ScriptedSource("a", lambda _: pictures(100), live=True, endless=True)
    summary = run(Stream(engine(), [endless, file_source("b", 3)], Best(), [], StreamOptions(capture=policy)))
    assert summary.sources["a"].captured == 7 and summary.sources["b"].captured == 3 and balanced(summary)

    def slow(_: int) -> Iterable[Item]:
        while True:
            yield Picture(stamped(1, 16, 16))
            sleep(0.005)

    summary = run(Stream(engine(), [ScriptedSource("c", slow)], Best(), [], StreamOptions(duration=0.3)))
    assert summary.sources["c"].state is SourceState.ENDED and balanced(summary)
    assert summary.sources["c"].captured >= 1


def test_stop_answers_what_was_captured() -> None:
    kept = Kept(react=lambda result: stream.stop() if result.frame.frame_id == 20 else None)
    stream = Stream(engine(behave=lambda: sleep(0.001)), [file_source("a", 10**6)], Best(), [kept])
    summary = run(stream)
    counts = summary.sources["a"]
    assert counts.captured == counts.inferred == len(kept.results) > 20
    assert counts.state is SourceState.ENDED and summary.error is None
    stream.stop()  # a late one does nothing


def test_what_cannot_be_decoded_is_told_and_others_go_on() -> None:
    def refused(_: int) -> Iterable[Item]:
        raise InputError("access is refused", where="door")

    door = ScriptedSource("door", refused, live=True, endless=True)
    summary = run(Stream(engine(), [door, file_source("b", 30)], Best(), []))
    assert door.openings == 1, "trying again is no use"
    assert summary.sources["door"].state is SourceState.FAILED and summary.sources["b"].inferred == 30
    assert isinstance(summary.error, InputError)


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_sources_need_names_of_their_own(names: list[str]) -> None:
    with pytest.raises(UsageError, match="name"):
        Stream(engine(), [file_source(name, 1) for name in names], Best(), [])


def test_the_summary_as_json(tmp_path: Path) -> None:
    value = run(Stream(engine(), [file_source("a", 5)], Best(), [Kept()])).to_json()
    assert value["sources"] == [
        {
            "source": "a",
            "state": "ended",
            "captured": 5,
            "inferred": 5,
            "dropped": 0,
            "failed": 0,
            "reconnects": 0,
            "corrupt": 0,
            "error": None,
        }
    ]
    assert value["sinks"] == [{"name": "kept", "written": 5, "failed": 0}]
    assert set(value["latency_ms"]["total"]) == {"mean", "p50", "p90", "p95", "p99"}
