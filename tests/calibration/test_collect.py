"""Collecting: every batch once, digests in order, errors that name what is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from resnest_edge.calibration.collect import collect
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
    given = batches(5)
    seen: list[Array] = []

    def run(images: Array) -> list[Array]:
        seen.append(images)
        return runner(images)

    statistics = collect(run, iter(given), graph_digest="g", tensors=["a", "b"])
    assert len(seen) == 5
    assert statistics.images == 10
    everything = np.concatenate([images for images, _ in given])
    assert statistics.observers["a"].counts.sum() == statistics.observers["b"].counts.sum() == everything.size
    scales = statistics.scales("max", QdqStyle.CPU)
    assert (scales.ranges["a"].low, scales.ranges["a"].high) == (everything.min(), everything.max())
    assert (scales.ranges["b"].low, scales.ranges["b"].high) == (0, everything.max())


def test_distinct_batches_give_distinct_statistics() -> None:
    given = batches(4)
    alone = [collect(runner, [batch], graph_digest="g", tensors=["a", "b"]).observers["a"].maximum for batch in given]
    assert len(set(alone)) == 4
    assert collect(runner, given, graph_digest="g", tensors=["a", "b"]).observers["a"].maximum == max(alone)


def test_batches_are_taken_one_at_a_time() -> None:
    """Memory does not grow with the images: nothing is pulled before the last batch was run."""
    events: list[str] = []

    def stream() -> Iterator[Batch]:
        for batch in batches(3):
            events.append("pull")
            yield batch

    def run(images: Array) -> list[Array]:
        events.append("run")
        return runner(images)

    collect(run, stream(), graph_digest="g", tensors=["a", "b"])
    assert events == ["pull", "run"] * 3


def test_scales_say_what_they_come_from() -> None:
    given = batches(2)
    scales = collect(runner, given, graph_digest="digest", tensors=["a", "b"]).scales("mse", QdqStyle.PORTABLE)
    digests = "".join(digest for _, names in given for digest in names)
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
