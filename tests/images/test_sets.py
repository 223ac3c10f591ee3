"""Drawing and excluding: balanced, repeatable, and never the same picture on both sides."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnest_edge.errors import ImageError, UsageError
from resnest_edge.images import ImageFiles, ImageSet, Subset, exclude, open_images, sample


def labelled(labels: list[int | None]) -> ImageFiles:
    """A set that has names and labels, and no files."""
    names = [f"{position}.png" for position in range(len(labels))]
    return ImageFiles("mem", Path("nowhere"), names, labels, ("a", "b", "c"))


def names(images: ImageSet) -> list[str]:
    return [images.name(index) for index in range(len(images))]


@given(sizes=st.lists(st.integers(0, 12), min_size=1, max_size=6), count=st.integers(1, 40), seed=st.integers(0, 2**40))
def test_a_draw_is_balanced_until_a_class_runs_out(sizes: list[int], count: int, seed: int) -> None:
    labels: list[int | None] = [label for label, size in enumerate(sizes) for _ in range(size)]
    if not labels:
        return
    images = labelled(labels)
    drawn = sample(images, count, seed)
    assert len(drawn) == min(count, len(images))
    assert len(set(names(drawn))) == len(drawn)
    counts = Counter(drawn.label(index) for index in range(len(drawn)))
    most = max(counts.values())
    for label, size in enumerate(sizes):
        # A class has what the fullest has, one fewer, or everything there is of it.
        assert counts[label] >= min(size, most - 1)


@given(first=st.integers(1, 30), second=st.integers(1, 30))
def test_a_smaller_draw_is_a_prefix_of_a_larger_one(first: int, second: int) -> None:
    images = labelled([position % 3 for position in range(30)])
    small, large = sorted((first, second))
    assert names(sample(images, small, 7)) == names(sample(images, large, 7))[:small]


def test_a_draw_does_not_depend_on_the_order_of_the_files() -> None:
    entries: list[tuple[str, int | None]] = [
        (f"{label}/{number}.png", label) for label in range(3) for number in range(9)
    ]
    shuffled = random.Random(1).sample(entries, len(entries))
    draws = []
    for order in (entries, shuffled):
        pictures = ImageFiles("mem", Path("nowhere"), [name for name, _ in order], [label for _, label in order], "abc")
        draws.append(names(sample(pictures, 10, 0)))
    assert draws[0] == draws[1]


def test_the_draw_of_a_seed_never_changes() -> None:
    images = labelled([position % 2 for position in range(20)])
    # Written down once: another choice on another machine or version would compare unlike with unlike.
    assert names(sample(images, 4, 0)) == names(sample(images, 4, 0))
    assert names(sample(images, 4, 0)) != names(sample(images, 4, 1))
    assert names(sample(images, 4, 0)) == ["19.png", "4.png", "11.png", "14.png"]


def test_unlabelled_pictures_are_drawn_uniformly() -> None:
    images = labelled([None] * 20)
    hits = Counter(name for seed in range(2000) for name in names(sample(images, 5, seed)))
    # Binomial(2000, 1/4): mean 500, deviation 19.4; five deviations over 20 pictures fail once in 10^5 choices of hash.
    assert all(abs(hits[f"{position}.png"] - 500) < 97 for position in range(20))


def test_a_draw_beyond_the_set_is_the_whole_set() -> None:
    images = labelled([0, 1, 1])
    drawn = sample(images, 10, 0)
    assert sorted(names(drawn)) == sorted(names(images))
    assert drawn.seed == 0


def test_an_impossible_draw_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot draw 0"):
        sample(labelled([0]), 0, 0)
    with pytest.raises(ImageError, match="no pictures to draw from"):
        sample(labelled([]), 1, 0)


def folder(root: Path, count: int) -> Path:
    root.mkdir(parents=True)
    for number in range(count):
        pixels = np.full((4, 4, 3), number, np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    return root


def test_exclusion_finds_a_picture_under_another_name(tmp_path: Path) -> None:
    images = open_images(folder(tmp_path / "all", 5))
    other = tmp_path / "other"
    other.mkdir()
    (other / "renamed.png").write_bytes((tmp_path / "all" / "3.png").read_bytes())
    assert names(exclude(images, open_images(other))) == ["0.png", "1.png", "2.png", "4.png"]


@given(count=st.integers(1, 12))
@settings(max_examples=12)
def test_calibration_and_evaluation_never_share_a_picture(tmp_path_factory: pytest.TempPathFactory, count: int) -> None:
    images = open_images(folder(tmp_path_factory.mktemp("set") / "x", 12))
    calibration = sample(images, count, 0)
    evaluation = exclude(images, calibration)
    assert len(calibration) + len(evaluation) == 12
    digests = [{part.digest(index) for index in range(len(part))} for part in (calibration, evaluation)]
    assert not digests[0] & digests[1]


def test_exclusion_fails_by_name_when_a_picture_cannot_be_read(tmp_path: Path) -> None:
    images = open_images(folder(tmp_path / "all", 2))
    (tmp_path / "all" / "1.png").unlink()
    with pytest.raises(ImageError, match=r"1\.png: the picture does not exist"):
        exclude(images, images)


def test_a_subset_is_the_set_it_was_taken_from_in_another_order(tmp_path: Path) -> None:
    images = open_images(folder(tmp_path / "all", 4))
    subset: ImageSet = Subset(Subset(images, [3, 1, 0]), [2, 0])
    assert names(subset) == ["0.png", "3.png"]
    assert subset.source == images.source
    assert subset.class_names == images.class_names
    assert subset.label(0) is None
    assert subset.digest(1) == images.digest(3)
    np.testing.assert_array_equal(subset.load(1), images.load(3))
