"""`async for result in resnest_edge.watch(…)`: every result, back-pressure, swaps, and an end that leaves nothing."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from time import perf_counter

import pytest

import resnest_edge
from resnest_edge.camera.base import CameraResult, Sink, SourceState
from resnest_edge.camera.results import AHEAD, Watch
from resnest_edge.camera.sources import Source
from resnest_edge.camera.stream import Stream, StreamOptions
from resnest_edge.errors import BundleDamagedError, InputError, UnavailableError, UsageError
from tests.camera.fakes import Best, Item, ScriptedSource, balanced, engine, file_source, pictures


def watching(*sources: Source, options: StreamOptions | None = None) -> Watch:
    def open_stream(sink: Sink) -> Stream:
        return Stream(engine((1, 2)), sources, Best(), [sink], options, load=lambda path: engine((1,), name=path.name))

    return Watch(open_stream)


async def read(watch: Watch) -> list[CameraResult]:
    return [result async for result in watch]


def assert_threads_end(before: int) -> None:
    deadline = perf_counter() + 10
    while threading.active_count() > before and perf_counter() < deadline:
        threading.Event().wait(0.01)
    assert threading.active_count() <= before


def test_every_result_in_order() -> None:
    watch = watching(file_source("a", 200), file_source("b", 50))
    results = asyncio.run(read(watch))
    for name, count in (("a", 200), ("b", 50)):
        assert [r.answers[0].index for r in results if r.frame.source == name] == list(range(count))
    assert watch.summary is not None and balanced(watch.summary) and watch.summary.sources["a"].inferred == 200


def test_a_slow_reader_makes_files_wait_and_cameras_drop() -> None:
    async def main() -> Watch:
        camera = ScriptedSource("cam", lambda _: pictures(150), live=True)
        watch = watching(file_source("file", 100), camera)
        seen = 0
        async for _ in watch:
            seen += 1
            if seen == 1:
                await asyncio.sleep(0.3)
                captured = watch.counts()["file"].captured
                assert captured <= AHEAD + 20, "it did not run ahead"
        return watch

    summary = asyncio.run(main()).summary
    assert summary is not None and balanced(summary)
    assert summary.sources["file"].inferred == 100 and summary.sources["cam"].dropped > 0


def test_leaving_early_stops_the_stream() -> None:
    before = threading.active_count()

    async def main() -> Watch:
        async with watching(file_source("a", 10**6)) as watch:
            async for result in watch:
                if result.frame.frame_id == 10:
                    break
        return watch

    watch = asyncio.run(main())
    assert watch.summary is not None and balanced(watch.summary)
    assert watch.summary.sources["a"].state is SourceState.ENDED and watch.summary.sources["a"].captured < 1000
    assert_threads_end(before)


def test_leaving_without_a_block_stops_it_as_well() -> None:
    before = threading.active_count()

    async def main() -> None:
        async for result in watching(file_source("a", 10**6)):
            if result.frame.frame_id == 10:
                break

    asyncio.run(main())
    assert_threads_end(before)


def test_cancelling_stops_it() -> None:
    before = threading.active_count()

    async def main() -> None:
        task = asyncio.create_task(read(watching(file_source("a", 10**6))))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert_threads_end(before)


def test_swapping_while_it_runs() -> None:
    async def main() -> list[str]:
        bundles: list[str] = []
        async with watching(file_source("a", 300)) as watch:
            with pytest.raises(UsageError, match="not begun"):
                watch.counts()
            async for result in watch:
                bundles.append(result.bundle)
                if result.frame.frame_id == 100:
                    await watch.swap("second")
        return bundles

    bundles = asyncio.run(main())
    assert len(bundles) == 300 and bundles[0] == "fake" and bundles[-1] == "second"


def test_errors_come_from_the_iteration(tmp_path: Path) -> None:
    with pytest.raises(BundleDamagedError):
        asyncio.run(read(resnest_edge.watch(tmp_path, "demo:")))
    with pytest.raises(InputError, match=r"missing\.mp4"):
        asyncio.run(read(resnest_edge.watch(tmp_path, "missing.mp4")))

    def lost(_: int) -> list[Item]:
        raise UnavailableError("the disk is gone")

    watch = watching(file_source("a", 20), ScriptedSource("b", lost))
    with pytest.raises(UnavailableError, match="the disk is gone"):
        asyncio.run(read(watch))
    assert watch.summary is not None and watch.summary.sources["a"].inferred == 20, "after all that could be read"
    with pytest.raises(UsageError, match="already"):
        asyncio.run(read(watch))
