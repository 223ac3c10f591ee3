"""Changing the engine under a running stream: nothing is lost, and what does not fit is refused with the reason."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnest_edge.camera.base import CameraResult
from resnest_edge.camera.engine import CameraEngine, batch_sizes
from resnest_edge.camera.stream import Stream
from resnest_edge.errors import BundleDamagedError, BundleMisfitError, UsageError
from resnest_edge.spec import BatchRange, InputFormat
from tests.camera.fakes import (
    LABELS,
    PREPROCESSING,
    Best,
    Kept,
    StampSession,
    balanced,
    engine,
    file_source,
    info,
    run,
    sessions,
)


def streaming(react: Callable[[CameraResult], None], load: Callable[[Path], CameraEngine], **more: Any) -> Stream:
    kept = Kept(react=react)
    stream = Stream(engine((1, 2), name="first"), [file_source("a", 300)], Best(), [kept], load=load, **more)
    stream.kept = kept  # type: ignore[attr-defined]
    return stream


def kept_of(stream: Stream) -> Kept:
    kept: Kept = stream.kept  # type: ignore[attr-defined]
    return kept


def test_no_frame_is_lost_to_a_swap() -> None:
    made: list[CameraEngine] = []

    def load(path: Path) -> CameraEngine:
        made.append(engine((1, 4), name=str(path)))
        return made[-1]

    def swap_often(result: CameraResult) -> None:
        if result.frame.frame_id % 50 == 20:
            stream.swap(Path(f"engine-{result.frame.frame_id}"))

    stream = streaming(swap_often, load)
    summary = run(stream)
    kept = kept_of(stream)
    assert kept.answered("a") == list(range(300)) and kept.ids("a") == list(range(300))
    assert balanced(summary) and summary.swaps == 6 == len(made)
    used = list(dict.fromkeys(result.bundle for result in kept.results))
    assert used[:2] == ["first", "engine-20"] and len(used) >= 6
    assert all(session.closed == 1 for each in made for session in sessions(each)), "every engine is freed once"


def test_a_bundle_asked_for_by_a_signal() -> None:
    told: list[str] = []
    paths = iter([Path("damaged"), Path("second")])

    def load(path: Path) -> CameraEngine:
        if path.name == "damaged":
            raise BundleDamagedError("bytes differ", where=path)
        loaded.set()
        return engine(name=str(path))

    loaded = threading.Event()

    def ask(result: CameraResult) -> None:
        if result.frame.frame_id in (10, 20):
            stream.swap_soon(next(paths))
        if result.frame.frame_id == 290:
            loaded.wait(10)

    stream = streaming(ask, load, tell=told.append)
    summary = run(stream)
    assert kept_of(stream).answered("a") == list(range(300))
    assert summary.swaps == 1 and kept_of(stream).results[0].bundle == "first"
    assert any("the engine stays" in text and "bytes differ" in text for text in told)
    assert any("the engine is now second" in text for text in told)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": LABELS[:-1]}, "511 classes, not 512"),
        ({"labels": ("cat", *LABELS[1:])}, "class 0 is 'cat', not 'number 0'"),
        ({"preprocessing": replace(PREPROCESSING, resize=32)}, "resize 32, not 16"),
        ({"preprocessing": replace(PREPROCESSING, image_size=8)}, "image_size 8, not 16"),
        ({"input_format": InputFormat.FLOAT_NCHW}, "input format float-nchw, not uint8-nhwc"),
    ],
)
def test_another_contract_is_refused(change: dict[str, Any], message: str) -> None:
    other = engine(**change)
    refused: list[str] = []

    def swap(result: CameraResult) -> None:
        if result.frame.frame_id == 5:
            with pytest.raises(BundleMisfitError) as raised:
                stream.swap(Path("other"))
            refused.append(str(raised.value))

    stream = streaming(swap, lambda _: other)
    summary = run(stream)
    assert len(refused) == 1 and message in refused[0]
    assert summary.swaps == 0 and kept_of(stream).answered("a") == list(range(300))
    assert sessions(other)[0].closed == 1 and sessions(other)[0].submitted == 0


def test_what_the_graph_does_itself_may_differ() -> None:
    first = engine().contract
    assert first.differences(replace(first, preprocessing=replace(PREPROCESSING, mean=(0.1, 0.2, 0.3)))) == []


def test_a_swap_after_the_end_or_without_a_loader() -> None:
    late = engine()
    stream = streaming(lambda _: None, lambda _: late)
    run(stream)
    with pytest.raises(UsageError, match="over"):
        stream.swap(Path("late"))
    assert sessions(late)[0].closed == 1
    with pytest.raises(UsageError, match="load"):
        Stream(engine(), [file_source("a", 1)], Best(), []).swap(Path("x"))


@pytest.mark.parametrize(
    ("batch", "most", "expected"),
    [
        ("1:1:64", 1, (1,)),
        ("1:1:64", 8, (1, 2, 4, 8)),
        ("1:1:64", 6, (1, 2, 4, 6)),
        ("1:4:4", 100, (1, 2, 4)),
        ("3:4:9", 100, (3, 4, 8, 9)),
        ("3:4:9", 1, (3,)),
        ("8", 1, (8,)),
    ],
)
def test_batch_sizes(batch: str, most: int, expected: tuple[int, ...]) -> None:
    assert batch_sizes(BatchRange.parse(batch), most) == expected


def test_an_engine_with_a_smallest_batch_is_padded() -> None:
    kept = Kept()
    used = engine((4,))
    summary = run(Stream(used, [file_source("a", 10)], Best(), [kept]))
    assert kept.answered("a") == list(range(10)) and balanced(summary)
    assert used.part(3) == 3 and used.part(9) == 4


def test_planar_engines_are_fed_planes() -> None:
    graph = info(input_format=InputFormat.FLOAT_NCHW)
    contract = replace(engine().contract, input_format=InputFormat.FLOAT_NCHW)
    used = CameraEngine("planar", contract, {2: StampSession(2, graph=graph)})
    kept = Kept()
    run(Stream(used, [file_source("a", 7)], Best(), [kept]))
    assert kept.answered("a") == list(range(7))


def test_what_a_runtime_raises_when_asked_is_an_answer() -> None:
    used = engine((1,))
    (session,) = sessions(used)
    session.submit = lambda _: (_ for _ in ()).throw(RuntimeError("no memory"))  # type: ignore[assignment]
    future = used.submit(np.zeros((1, 16, 16, 3), np.uint8))
    assert "no memory" in str(future.exception())
