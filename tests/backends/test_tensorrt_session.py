"""TensorRT sessions on a fake GPU that really computes, some time later: order, padding, threads, leaks, failures."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from resnest_edge.backends.base import Session
from resnest_edge.errors import BundleMisfitError, InputError, UnavailableError, UsageError
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Target
from tests.backends.fake_machine import CLASSES, INFO, SIDE, World, pictures
from tests.backends.fake_tensorrt import DynamicShapesKernelSpecializationStrategy, answers, plan

FIXED = replace(INFO, batch=BatchRange(2, 2, 2))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


@pytest.fixture(params=["cuda-python", "PyCUDA"])
def either(world: World, request: pytest.FixtureRequest) -> World:
    """With each of the two CUDA libraries."""
    if request.param == "PyCUDA":
        world.use_pycuda()
    return world


def check(session: Session, images: npt.NDArray[Any]) -> None:
    logits, probabilities = answers(images, CLASSES)
    answer = session.run(images)
    assert np.array_equal(answer.logits, logits) and np.array_equal(answer.probabilities, probabilities)


@pytest.mark.parametrize(("count", "batch", "streams"), [(1, 1, 1), (7, 2, 1), (7, 3, 2), (2, 8, 3), (24, 8, 3)])
def test_every_image_gets_its_own_answer(either: World, count: int, batch: int, streams: int) -> None:
    either.runtime.delay = 0.001
    with either.load(batch=batch, streams=streams) as session:
        for seed in range(3):
            check(session, pictures(count, seed))
    either.check_nothing_is_left()


def test_a_fixed_batch_of_floats(world: World) -> None:
    info = replace(FIXED, input_format=InputFormat.FLOAT_NCHW)
    with world.load(plan([2, 3, SIDE, SIDE], CLASSES), info, batch=2) as session:
        check(session, np.random.default_rng(0).random((5, 3, SIDE, SIDE), np.float32))
    world.check_nothing_is_left()


def test_submit_does_not_wait_until_the_streams_are_all_in_use(world: World) -> None:
    with world.load(batch=2, streams=2) as session:
        gates = [threading.Event(), threading.Event()]
        for stream, gate in zip(world.runtime.streams.values(), gates, strict=True):
            stream.put(functools.partial(gate.wait, 10))
        images = [pictures(2, seed) for seed in range(3)]
        first, second = session.submit(images[0]), session.submit(images[1])
        with ThreadPoolExecutor(1) as other:
            third = other.submit(session.submit, images[2])
            assert not first.done() and not third.done()
            gates[1].set()
            assert np.array_equal(second.result(10).logits, answers(images[1], CLASSES)[0])
            assert np.array_equal(third.result(10).result(10).logits, answers(images[2], CLASSES)[0])
            assert not first.done()  # later ones overtook it
            gates[0].set()
        assert np.array_equal(first.result(10).logits, answers(images[0], CLASSES)[0])


def test_many_threads_share_one_session(either: World) -> None:
    with either.load(batch=2, streams=3) as session, ThreadPoolExecutor(8) as threads:
        batches = [pictures(1 + seed % 5, seed) for seed in range(120)]
        for images, answer in zip(batches, threads.map(session.run, batches), strict=True):
            assert np.array_equal(answer.logits, answers(images, CLASSES)[0])
    either.check_nothing_is_left()


def test_ten_thousand_runs_leave_nothing_behind(world: World) -> None:
    images = pictures(1)
    with world.load(batch=1, streams=2) as session:
        session.run(images)
        before = dict(+world.runtime.live)
        for _ in range(5_000):
            first, second = session.submit(images), session.submit(images)
            first.result(), second.result()
        assert dict(+world.runtime.live) == before
        made = {kind: world.runtime.made[kind] for kind in ("memory", "pinned", "stream", "event", "graph")}
        assert made == {"memory": 6, "pinned": 6, "stream": 2, "event": 8, "graph": 2}
    world.check_nothing_is_left()


def test_a_graph_is_captured_for_each_stream_and_launched(world: World) -> None:
    with world.load(batch=2, streams=2) as session:
        warmed = world.library.executions
        check(session, pictures(8))
        assert world.runtime.made["graph"] == 2 and world.runtime.made["launch"] == 4
        assert world.library.executions == warmed  # only the graphs ran
        assert session.effective_settings()["cuda_graph"] is True


@pytest.mark.parametrize("why", ["end of capture", "rtx says no", "PyCUDA"])
def test_without_a_graph_it_runs_all_the_same_and_says_why(why: str, world: World) -> None:
    target = Target.TENSORRT
    if why == "PyCUDA":
        world.use_pycuda()
    elif why == "rtx says no":
        world.library.capturable, target = False, Target.TENSORRT_RTX
        world.library.__version__ = "1.7.1"
    else:
        world.runtime.capturable = False
    with world.load(batch=2, target=target) as session:
        check(session, pictures(4))
        settings = session.effective_settings()
        assert settings["cuda_graph"] is False and settings["cuda_graph_reason"]
        assert world.runtime.made["launch"] == 0
    world.check_nothing_is_left()


def test_rtx_compiles_its_kernels_before_they_are_measured(world: World) -> None:
    world.library.__version__ = "1.7.1"
    world.load(batch=2, target=Target.TENSORRT_RTX).close()
    (config,) = world.library.runtime_configs
    eager = DynamicShapesKernelSpecializationStrategy.EAGER
    assert config.dynamic_shapes_kernel_specialization_strategy is eager


def test_what_it_reports(world: World) -> None:
    with world.load(batch=2, streams=2) as session:
        assert session.timings() == {}
        world.runtime.streams[min(world.runtime.streams)]._delay = 0.002
        world.runtime.streams[max(world.runtime.streams)]._delay = 0.002
        check(session, pictures(8))
        timings = session.timings()
        settings = session.effective_settings()
    assert set(timings) == {"h2d_ms", "gpu_ms", "d2h_ms", "enqueue_ms"}
    assert timings["gpu_ms"] >= 2 and timings["d2h_ms"] >= 4 > timings["enqueue_ms"]  # two copies out, 2 ms each
    assert {name: settings[name] for name in ("runtime", "gpu", "compute_capability", "cuda", "streams")} == {
        "runtime": "TensorRT 10.3.0",
        "gpu": "Fake Orin",
        "compute_capability": "8.7",
        "cuda": "12.6",
        "streams": 2,
    }


@pytest.mark.parametrize(
    "images",
    [pictures(3), pictures(2).astype(np.float32), pictures(2)[:, :4], pictures(2)[0]],
    ids=["count", "type", "size", "dimensions"],
)
def test_a_wrong_batch_is_refused_and_the_stream_stays_free(images: npt.NDArray[Any], world: World) -> None:
    with world.load(batch=2) as session:
        for _ in range(3):
            with pytest.raises(InputError, match=r"takes \(2, 8, 8, 3\) uint8 at once"):
                session.submit(images)
        check(session, pictures(2))


def test_a_failing_gpu_is_told_in_the_future_and_the_stream_is_free_again(world: World) -> None:
    world.runtime.capturable = False
    with world.load(batch=2) as session:
        world.library.failing = True
        for _ in range(3):
            with pytest.raises(UnavailableError, match="illegal memory access"):
                session.submit(pictures(2)).result()
        world.library.failing = False
        check(session, pictures(2))
    world.check_nothing_is_left()


def test_closing_waits_and_can_be_repeated(world: World) -> None:
    world.runtime.delay = 0.005
    session = world.load(batch=2, streams=2)
    images = pictures(2)
    futures = [session.submit(images) for _ in range(2)]
    session.close()
    assert all(np.array_equal(future.result(0).logits, answers(images, CLASSES)[0]) for future in futures)
    session.close()
    world.check_nothing_is_left()
    with pytest.raises(RuntimeError, match="shutdown"):
        session.submit(images)


@pytest.mark.parametrize(
    ("data", "info", "message"),
    [
        (b"not an engine", INFO, r"cannot load this engine \(.*magicTag differs"),
        (plan([-1, SIDE, SIDE, 3], CLASSES, (1, 4, 8)), INFO, r"takes images of .* was announced"),
        (plan([3, SIDE, SIDE, 3], CLASSES), FIXED, r"takes images of \[\(3, 8, 8, 3\)\]"),
        (plan([-1, SIDE, SIDE, 3], 4, (1, 2, 8)), INFO, r"logits have the shape \(2, 4\), and \(2, 5\)"),
        (plan([-1, 3, SIDE, SIDE], CLASSES, (1, 2, 8)), INFO, "images are FLOAT, and UINT8 was announced"),
        (plan([-1, SIDE, SIDE, 3], CLASSES, (1, 2, 8), name="scores"), INFO, "tensors are images, scores"),
    ],
    ids=["bytes", "profile", "fixed", "classes", "type", "names"],
)
def test_an_engine_that_is_not_what_it_is_said_to_be(data: bytes, info: GraphInfo, message: str, world: World) -> None:
    with pytest.raises(BundleMisfitError, match=message):
        world.load(data, info, batch=2)
    world.check_nothing_is_left()


def test_no_memory_for_all_streams_frees_what_was_made(world: World) -> None:
    world.runtime.memory = 4_000
    with pytest.raises(UnavailableError, match=r"cudaErrorMemoryAllocation.*fewer streams"):
        world.load(batch=8, streams=3)
    world.check_nothing_is_left()


def test_no_execution_context_is_told_with_the_reason(world: World) -> None:
    world.library.no_context = True
    with pytest.raises(UnavailableError, match=r"cannot make an execution context \(out of memory\)"):
        world.load(batch=2)
    world.check_nothing_is_left()


def test_a_runtime_without_a_driver(world: World) -> None:
    world.library.no_driver = True
    with pytest.raises(UnavailableError, match=r"does not start on this machine \(CUDA initialization failure"):
        world.load(batch=2)


def test_a_batch_outside_the_range_is_refused_first(world: World) -> None:
    with pytest.raises(UsageError, match="batch 9 is outside"):
        world.load(batch=9)
