from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from resnest_edge.demo import scenes
from resnest_edge.demo.digits import load_digits, split_indices
from resnest_edge.demo.scenes import DemoImages, draw_scene
from resnest_edge.errors import UsageError
from resnest_edge.images.base import ImageSet, Pixels

# The same on NumPy 1.26 (Python 3.10) and 2.4 (Python 3.11), with and without AVX2.
PINNED = {
    ("train", 0): "5279eae45e3c284e45c45891bf4dba93173422f2818343de72ff06e4409a0883",
    ("train", 7): "403fb605943e975ebac22d7a67211ab5dea0f946076c430ea1efb924d4e0f22b",
    ("train", 255): "86bb4a57b0c8793e7df6fd2a701e57e4021f0c57e44f3ce7862d9d524d202f72",
    ("test", 0): "24da7ed2ccd6a094a2c65ed3d17217cf352fbe06067ba5ba601778e8794c9ac8",
    ("test", 7): "44e50f91bf1de3a9df1e5d95df947448f7e2bcb53afd04cfdac80f5da99c49bc",
    ("test", 255): "18991ec9b4ed88ffb264859f0f071f1fdf50956c66d47b3a651707ed76e1e86e",
}

draw_afresh: Callable[[str, int], Pixels] = draw_scene.__wrapped__


@pytest.fixture
def emptied_cache() -> None:
    draw_scene.cache_clear()


@pytest.mark.parametrize(("split", "index"), PINNED)
def test_scenes_are_the_pinned_ones(split: str, index: int) -> None:
    images: ImageSet = DemoImages(split, 300)
    assert images.digest(index) == PINNED[split, index]


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_scene_drawn_again_is_the_same(split: str) -> None:
    for index in (3, 40, 111):
        first, again = draw_afresh(split, index), draw_afresh(split, index)
        assert first is not again
        np.testing.assert_array_equal(first, again)


def test_a_scene_depends_on_no_other_scene_and_not_on_the_count(emptied_cache: None) -> None:
    long = DemoImages("test", 500)
    backwards = [long.load(index) for index in reversed(range(8))]
    draw_scene.cache_clear()
    short = DemoImages("test", 8)
    for index, expected in zip(range(8), reversed(backwards), strict=True):
        np.testing.assert_array_equal(short.load(index), expected)


def test_threads_draw_the_same_scenes(emptied_cache: None) -> None:
    images = DemoImages("test", 24)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(images.load, range(24)))
    for index, scene in enumerate(together):
        np.testing.assert_array_equal(scene, draw_afresh("test", index))


@pytest.mark.parametrize("split", ["train", "test"])
def test_scenes_are_rgb_pictures_that_show_something(split: str) -> None:
    images = DemoImages(split, 40)
    for index in range(len(images)):
        scene = images.load(index)
        assert scene.shape == (112, 112, 3) and scene.dtype == np.uint8
        # Not even the flattest surface in the dark is one colour.
        assert scene.std() > 5 and 15 < scene.mean() < 245


def test_scenes_differ_from_each_other() -> None:
    digests = [DemoImages(split, 60).digest(index) for split in ("train", "test") for index in range(60)]
    assert len(set(digests)) == 120


def test_digest_is_that_of_the_pixels() -> None:
    images = DemoImages("train", 5)
    assert images.digest(4) == hashlib.sha256(images.load(4).tobytes()).hexdigest()


def test_a_scene_cannot_be_changed_for_the_next_reader() -> None:
    with pytest.raises(ValueError, match="read-only"):
        DemoImages("test", 1).load(0)[0, 0, 0] = 1


def test_names_and_classes() -> None:
    images = DemoImages("test", 20)
    assert len(images) == 20 and images.source == "demo:test"
    assert images.name(12) == "test/00012"
    assert images.class_names == tuple("0123456789")


@pytest.mark.parametrize(("split", "count"), [("train", 2000), ("test", 1200), ("test", 1203)])
def test_labels_are_balanced_to_within_one(split: str, count: int) -> None:
    images = DemoImages(split, count)
    counts = Counter(images.label(index) for index in range(count))
    assert set(counts) == set(range(10))
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("test", "train")])
def test_scenes_show_digits_of_their_own_split_alone(split: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits in the middle and at the border alike: without the other split's digits, nothing changes."""
    originals, labels = load_digits()
    without_other, without_own = originals.copy(), originals.copy()
    without_other[[index for own in split_indices(other) for index in own]] = 0
    without_own[[index for own in split_indices(split) for index in own]] = 0
    expected = [draw_afresh(split, index) for index in range(30)]
    monkeypatch.setattr(scenes, "load_digits", lambda: (without_other, labels))
    for index, scene in enumerate(expected):
        np.testing.assert_array_equal(draw_afresh(split, index), scene)
    monkeypatch.setattr(scenes, "load_digits", lambda: (without_own, labels))
    assert all((draw_afresh(split, index) != scene).any() for index, scene in enumerate(expected))


def test_the_middle_shows_a_digit_of_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank the label's digits and the picture changes in the middle; blank another label's and there it does not."""
    originals, labels = load_digits()
    middle = (slice(40, 72), slice(40, 72))
    for index in (0, 13, 26, 39):
        expected = draw_afresh("test", index)
        for label, same in ((index % 10, False), ((index + 5) % 10, True)):
            blank = originals.copy()
            blank[labels == label] = 0
            monkeypatch.setattr(scenes, "load_digits", lambda blank=blank: (blank, labels))
            assert np.array_equal(draw_afresh("test", index)[middle], expected[middle]) is same
        monkeypatch.undo()


@pytest.mark.parametrize(("split", "count"), [("val", 10), ("train", 0), ("test", -1)])
def test_unknown_splits_and_empty_sets_are_refused(split: str, count: int) -> None:
    with pytest.raises(UsageError, match=split):
        DemoImages(split, count)
