"""Collecting: every batch once, digests in order, errors that name what is wrong."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.calibration.collect import Statistics, collect
from resnest_edge.calibration.ranges import METHODS
from resnest_edge.errors import GraphError, ImageError, UsageError
from resnest_edge.spec import QdqStyle

Array = npt.NDArray[np.float32]
Batch = tuple[Array, list[str]]


def runner(images: Array) -> list[Array]:
    """Two observed tensors of a pretend network."""
    return [images, np.maximum(images, 0)]


def batches(count: int, size: int = 2) -> list[Batch]:
    """Batches that differ, with a digest an image."""
    generator = np.random.default_rng(0)
    images = [(generator.standard_normal((size, 3, 4, 4)) * 2.0**k).astype(np.float32) for k in range(count)]
    return [(batch, [f"{k}-{index}" for index in range(size)]) for k, batch in enumerate(images)]


def test_every_batch_is_seen_once() -> None:
    sent = batches(5)
    seen: list[Array] = []

    def run(images: Array) -> list[Array]:
        seen.append(images)
        return runner(images)

    statistics = collect(run, iter(sent), graph_digest="g", tensors=["a", "b"])
    assert len(seen) == 5
    assert statistics.images == 10
    everything = np.concatenate([images for images, _ in sent])
    assert statistics.observers["a"].counts.sum() == statistics.observers["b"].counts.sum() == everything.size
    scales = statistics.scales("max", QdqStyle.CPU)
    assert (scales.ranges["a"].low, scales.ranges["a"].high) == (everything.min(), everything.max())
    assert (scales.ranges["b"].low, scales.ranges["b"].high) == (0, everything.max())


def test_distinct_batches_give_distinct_statistics() -> None:
    sent = batches(4)
    alone = [collect(runner, [batch], graph_digest="g", tensors=["a", "b"]).observers["a"].maximum for batch in sent]
    assert len(set(alone)) == 4
    assert collect(runner, sent, graph_digest="g", tensors=["a", "b"]).observers["a"].maximum == max(alone)


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_batches_are_taken_than_are_at_work_and_one(workers: int) -> None:
    """Memory does not grow with the images: each batch but the waiting one is released by a worker first."""
    taken, done, most = 0, 0, 0
    gate, lock = threading.Barrier(workers), threading.Lock()

    def stream() -> Iterator[Batch]:
        nonlocal taken, most
        for batch in batches(6):
            taken += 1
            with lock:
                most = max(most, taken - done)
            yield batch

    def run(images: Array) -> list[Array]:
        nonlocal done
        gate.wait(30)  # all workers are at work at once
        with lock:
            done += 1
        return runner(images)

    collect(run, stream(), graph_digest="g", tensors=["a", "b"], workers=workers)
    assert workers <= most <= 2 * workers + 2
    assert done == taken == 6


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(1, 4), st.integers(0, 99))
def test_workers_and_their_timing_change_no_bit(sizes: list[int], workers: int, seed: int) -> None:
    """The oracle: one observer a tensor that sees one batch after the other."""
    generator = np.random.default_rng(seed)
    images = [(generator.standard_normal((size, 5)) * 2.0 ** generator.integers(-9, 9)) for size in sizes]
    sent = [(batch.astype(np.float32), [f"{k}-{i}" for i in range(len(batch))]) for k, batch in enumerate(images)]
    delays = dict(zip((id(batch) for batch, _ in sent), generator.random(len(sent)) / 1000, strict=True))

    def run(batch: Array) -> list[Array]:
        time.sleep(delays[id(batch)])
        return runner(batch)

    counted: list[int] = []
    found = collect(run, sent, graph_digest="g", tensors=["a", "b"], workers=workers, on_counted=counted.append)
    expected = Statistics("g", ["a", "b"])
    for batch, digests in sent:
        expected.update(runner(batch), digests)
    assert counted == np.cumsum(sizes).tolist()
    for name in ("a", "b"):
        np.testing.assert_array_equal(found.observers[name].counts, expected.observers[name].counts)
    for method in METHODS:
        assert found.scales(method, QdqStyle.CPU) == expected.scales(method, QdqStyle.CPU)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_of_several_errors_the_first_batch_s_is_raised(workers: int) -> None:
    """As if there were no threads: also where a later batch fails first, or a later picture cannot be read."""

    def stream() -> Iterator[Batch]:
        yield np.ones((1, 1), np.float32), ["0"]
        yield np.full((1, 1), np.nan, np.float32), ["1"]
        yield np.full((1, 1), np.inf, np.float32), ["2"]
        raise ImageError("damaged", where="late.jpg")

    def run(batch: Array) -> list[Array]:
        if np.isnan(batch).any():
            time.sleep(0.05)
            raise GraphError("the first")
        if np.isinf(batch).any():
            raise GraphError("the second")
        return runner(batch)

    with pytest.raises(GraphError, match="the first"):
        collect(run, stream(), graph_digest="g", tensors=["a", "b"], workers=workers)


def test_no_thread_is_left_behind() -> None:
    def run(batch: Array) -> list[Array]:
        raise GraphError("broken")

    with pytest.raises(GraphError, match="broken"):
        collect(run, batches(4), graph_digest="g", tensors=["a", "b"], workers=3)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("observe")] == []


def test_scales_say_what_they_come_from() -> None:
    sent = batches(2)
    scales = collect(runner, sent, graph_digest="digest", tensors=["a", "b"]).scales("mse", QdqStyle.PORTABLE)
    digests = "".join(digest for _, names in sent for digest in names)
    assert scales.images_digest == hashlib.sha256(digests.encode()).hexdigest()
    assert (scales.graph_digest, scales.images, scales.method) == ("digest", 4, "mse")
    assert scales.style is QdqStyle.PORTABLE
    assert list(scales.ranges) == ["a", "b"]


def test_the_images_digest_does_not_depend_on_the_batch_size() -> None:
    images = np.ones((4, 3, 2, 2), np.float32)
    names = ["1", "2", "3", "4"]
    whole = collect(runner, [(images, names)], graph_digest="g", tensors=["a", "b"])
    halves = collect(runner, [(images[:2], names[:2]), (images[2:], names[2:])], graph_digest="g", tensors=["a", "b"])
    for method in METHODS:
        assert whole.scales(method, QdqStyle.CPU) == halves.scales(method, QdqStyle.CPU)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("style", list(QdqStyle))
def test_every_method_ranges_every_tensor(method: str, style: QdqStyle) -> None:
    scales = collect(runner, batches(3), graph_digest="g", tensors=["a", "b"]).scales(method, style)
    for span in scales.ranges.values():
        assert span.minimum <= span.low <= span.high <= span.maximum


def test_an_unknown_method_is_a_usage_error() -> None:
    statistics = collect(runner, batches(1), graph_digest="g", tensors=["a", "b"])
    with pytest.raises(UsageError, match=r"'median' is not known\. Use one of max, percentile, entropy, mse"):
        statistics.scales("median", QdqStyle.CPU)


def test_no_images_is_an_error_and_no_default() -> None:
    statistics = collect(runner, [], graph_digest="g", tensors=["a", "b"])
    with pytest.raises(ImageError, match="no image to calibrate on"):
        statistics.scales("max", QdqStyle.CPU)


def test_an_image_that_cannot_be_read_ends_the_calibration() -> None:
    def stream() -> Iterator[Batch]:
        yield batches(1)[0]
        raise ImageError("damaged", where="cat.jpg")

    with pytest.raises(ImageError, match=r"cat\.jpg: damaged"):
        collect(runner, stream(), graph_digest="g", tensors=["a", "b"])


def test_a_tensor_that_is_not_finite_is_named() -> None:
    broken = [(np.full((1, 3, 2, 2), np.nan, np.float32), ["x"])]
    with pytest.raises(GraphError, match="a: the network produces values that are not finite"):
        collect(runner, broken, graph_digest="g", tensors=["a", "b"])


@pytest.mark.parametrize("tensors", [["a"], ["a", "b", "c"]])
def test_a_runner_that_gives_other_tensors_is_noticed(tensors: list[str]) -> None:
    with pytest.raises(ValueError, match="zip"):
        collect(runner, batches(1), graph_digest="g", tensors=tensors)


@pytest.mark.parametrize("digests", [[], ["1"], ["1", "2", "3"]], ids=len)
def test_images_without_their_digests_are_noticed(digests: list[str]) -> None:
    """The digest of the images is what a report stands on: it covers each image that was counted, and no other."""
    with pytest.raises(ValueError, match="2 images and"):
        collect(runner, [(np.ones((2, 3, 2, 2), np.float32), digests)], graph_digest="g", tensors=["a", "b"])


def test_tensors_observed_apart_come_together_if_their_images_are_the_same() -> None:
    sent = batches(3)
    whole = collect(runner, sent, graph_digest="g", tensors=["a", "b"])
    joined = Statistics("g", ["a", "b"])
    joined.include(collect(lambda images: runner(images)[:1], sent, graph_digest="g", tensors=["a"]))
    joined.include(collect(lambda images: runner(images)[1:], sent, graph_digest="g", tensors=["b"]))
    assert joined.scales("mse", QdqStyle.CPU) == whole.scales("mse", QdqStyle.CPU)
    with pytest.raises(ValueError, match="different images"):
        joined.include(collect(runner, sent[:2], graph_digest="g", tensors=["a", "b"]))
