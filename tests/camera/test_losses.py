"""Sources that are lost, hang, are damaged or never answer: opened again with patience, watched, given up, counted."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from time import perf_counter, sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.camera import stream as stream_module
from resnest_edge.camera.base import CameraResult, SourceState
from resnest_edge.camera.capture import CapturePolicy
from resnest_edge.camera.sources import Damage
from resnest_edge.camera.stream import Stream, StreamOptions
from resnest_edge.errors import UnavailableError
from tests.camera.fakes import Best, Item, Kept, ScriptedSource, balanced, engine, file_source, pictures, run


def options(**policy: float | None) -> StreamOptions:
    return StreamOptions(capture=CapturePolicy(**{"backoff": 0.001, "most": 0.004, **policy}))  # type: ignore[arg-type]


@given(st.integers(1, 10_000), st.floats(0.0, 1.0))
def test_backoff_doubles_up_to_a_bound_and_jitter_halves_it_at_most(attempt: int, chance: float) -> None:
    policy = CapturePolicy(backoff=0.5, most=30.0)
    full = min(30.0, 0.5 * 2.0 ** min(attempt - 1, 50))
    assert full / 2 <= policy.delay(attempt, chance) <= full
    assert policy.delay(attempt, 0.0) == full


def test_a_hundred_and_fifty_losses() -> None:
    """Lost after each third picture; by an error, or by a stream that just ends."""
    losses = 150

    def script(opening: int) -> Iterable[Item]:
        yield from pictures(3, first=3 * opening)
        if opening == losses:
            stream.stop()
            source.stopped.wait(20)  # what ends before the order arrives counts as lost once more
        if opening % 2:
            raise UnavailableError("the stream was lost")

    before = threading.active_count()
    source, kept, answering = ScriptedSource("cam", script, endless=True), Kept(), Best()
    stream = Stream(engine((1, 2)), [source], answering, [kept], options())
    summary = run(stream)
    counts = summary.sources["cam"]
    assert counts.reconnects == losses and counts.captured == 3 * (losses + 1) == counts.inferred
    assert kept.answered("cam") == [number % 512 for number in range(3 * (losses + 1))]
    assert kept.ids("cam") == list(range(3 * (losses + 1))), "frames are counted on over reconnects"
    assert source.openings == source.freed == losses + 1, "every opening is freed"
    assert answering.forgotten == ["cam"] * (losses + 1), "smoothing begins anew with each"
    assert summary.error is None and threading.active_count() == before


def test_retries_are_counted_in_a_row_and_then_given_up() -> None:
    def script(opening: int) -> Iterable[Item]:
        if opening in (2, 3):
            yield from pictures(1)
        raise UnavailableError("nobody is there")

    source = ScriptedSource("cam", script, live=True, endless=True)
    told: list[str] = []
    summary = run(Stream(engine(), [source], Best(), [], options(retries=3), tell=told.append))
    assert source.openings == 2 + 2 + 3, "a picture sets the count back"
    counts = summary.sources["cam"]
    assert counts.state is SourceState.FAILED and counts.captured == 2 and balanced(summary)
    assert "nobody is there" in str(summary.error)
    assert any("given up" in text for text in told)


def test_without_retries_the_first_loss_is_the_last() -> None:
    source = ScriptedSource("cam", lambda _: pictures(2), endless=True)
    summary = run(Stream(engine(), [source], Best(), [], options(retries=0)))
    assert source.openings == 1 and summary.sources["cam"].inferred == 2
    assert isinstance(summary.error, UnavailableError)


def test_a_file_that_cannot_be_reached_is_not_tried_again() -> None:
    def script(_: int) -> Iterable[Item]:
        yield from pictures(2)
        raise UnavailableError("the disk is gone")

    source = ScriptedSource("file", script)
    summary = run(Stream(engine(), [source], Best(), [], options()))
    assert source.openings == 1 and summary.sources["file"].state is SourceState.FAILED


def test_stop_while_it_waits_to_open_again() -> None:
    def script(_: int) -> Iterable[Item]:
        raise UnavailableError("not yet")

    source = ScriptedSource("cam", script, live=True, endless=True)
    stream = Stream(engine(), [source], Best(), [], options(backoff=60.0, most=60.0))
    timer = threading.Timer(0.2, stream.stop)
    timer.start()
    summary = run(stream)
    assert summary.sources["cam"].state is SourceState.ENDED and summary.seconds < 30


def test_damage_is_counted_and_is_no_frame() -> None:
    items: list[Item] = [*pictures(2), Damage("bad packet"), Damage("bad packet"), *pictures(2, first=2)]
    kept = Kept()
    summary = run(Stream(engine(), [ScriptedSource("a", lambda _: items)], Best(), [kept]))
    counts = summary.sources["a"]
    assert (counts.captured, counts.corrupt, counts.failed) == (4, 2, 0) and balanced(summary)
    assert kept.answered("a") == [0, 1, 2, 3]


def test_a_stalled_camera_is_seen_interrupted_and_opened_again() -> None:
    states: list[SourceState] = []

    def script(opening: int) -> Iterable[Item]:
        yield from pictures(2, first=2 * opening)
        if opening < 2:
            source.stopped.wait(20)  # silent until it is interrupted
            states.append(stream.counts()["cam"].state)
            yield from pictures(1)
        stream.stop()
        source.stopped.wait(20)  # what ends before the order arrives counts as lost once more

    source, kept = ScriptedSource("cam", script, endless=True), Kept()
    stream = Stream(engine(), [source], Best(), [kept], options(stall=0.1))
    summary = run(stream)
    assert states == [SourceState.STALLED] * 2
    assert summary.sources["cam"].reconnects == 2 and kept.answered("cam") == [0, 1, 2, 3, 4, 5]
    assert summary.error is None and balanced(summary)


def test_a_stalled_camera_that_comes_back_by_itself() -> None:
    states: list[SourceState] = []

    def script(opening: int) -> Iterable[Item]:
        yield from pictures(1)
        sleep(0.3)
        states.append(stream.counts()["cam"].state)
        yield from pictures(1, first=1)
        states.append(stream.counts()["cam"].state)

    source, kept = ScriptedSource("cam", script, deaf=True), Kept()
    stream = Stream(engine(), [source], Best(), [kept], options(stall=0.1))
    summary = run(stream)
    assert states == [SourceState.STALLED, SourceState.STREAMING] and kept.answered("cam") == [0, 1]
    assert isinstance(summary.error, UnavailableError), "what it left out while it hung is not known"


def test_a_file_that_hangs_is_given_up_and_the_others_end() -> None:
    def script(_: int) -> Iterable[Item]:
        yield from pictures(1)
        source.stopped.wait(20)

    source = ScriptedSource("nfs", script)
    summary = run(Stream(engine(), [source, file_source("b", 20)], Best(), [], options(stall=0.1)))
    assert summary.sources["nfs"].state is SourceState.FAILED and summary.sources["b"].inferred == 20
    assert "no picture within 0.1 s" in str(summary.error)


def test_a_slow_engine_is_no_stall() -> None:
    kept = Kept()
    slow = engine(behave=lambda: sleep(0.15))
    summary = run(
        Stream(slow, [file_source("a", 5)], Best(), [kept], StreamOptions(queue=1, capture=options(stall=0.05).capture))
    )
    assert summary.sources["a"].inferred == 5 and summary.error is None


def test_a_source_that_never_answers_and_is_deaf_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_PATIENCE", 0.2)
    release = threading.Event()

    def script(_: int) -> Iterable[Item]:
        release.wait(20)
        yield from pictures(5)

    source, kept = ScriptedSource("dead", script, live=True, endless=True, deaf=True), Kept()
    stream = Stream(engine(), [source, file_source("b", 30)], Best(), [kept], options(stall=0.1))
    timer = threading.Timer(0.4, stream.stop)
    timer.start()
    summary = run(stream)
    assert summary.sources["dead"].state is SourceState.FAILED and summary.sources["dead"].captured == 0
    assert summary.sources["b"].inferred == 30 and balanced(summary)
    assert "did not stop" in str(summary.error)
    release.set()  # it wakes up after the run: what it gives is refused and not counted
    deadline = perf_counter() + 10
    while source.freed == 0 and perf_counter() < deadline:
        sleep(0.01)
    assert source.freed == 1 and stream.counts()["dead"].captured == 0


def test_a_slow_sink_makes_cameras_drop_and_files_wait() -> None:
    def dawdle(_: CameraResult) -> None:
        sleep(0.005)

    camera = ScriptedSource("cam", lambda _: pictures(200), live=True)
    summary = run(Stream(engine(), [camera, file_source("file", 40)], Best(), [Kept(react=dawdle)]))
    assert summary.sources["cam"].dropped > 50 and balanced(summary)
    assert summary.sources["file"].inferred == 40
