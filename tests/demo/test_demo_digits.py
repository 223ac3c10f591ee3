from __future__ import annotations

import numpy as np
import pytest

from resnest_edge.demo.digits import INK, load_digits, split_indices


def test_digits_are_scikit_learns() -> None:
    oracle = pytest.importorskip("sklearn.datasets").load_digits()
    images, labels = load_digits()
    assert images.dtype == np.uint8 and labels.dtype == np.uint8
    np.testing.assert_array_equal(images, oracle.images)
    np.testing.assert_array_equal(labels, oracle.target)


def test_digits_have_the_documented_shape_and_range() -> None:
    images, labels = load_digits()
    assert images.shape == (1797, 8, 8) and labels.shape == (1797,)
    assert (images.min(), images.max()) == (0, INK)
    assert set(labels.tolist()) == set(range(10))


def test_train_and_test_share_no_digit_and_leave_none_out() -> None:
    train = [index for own in split_indices("train") for index in own]
    test = [index for own in split_indices("test") for index in own]
    assert sorted(train + test) == list(range(1797))


@pytest.mark.parametrize("split", ["train", "test"])
def test_split_lists_each_label_its_own_digits(split: str) -> None:
    _, labels = load_digits()
    chosen = split_indices(split)
    assert len(chosen) == 10
    for label, own in enumerate(chosen):
        assert set(labels[list(own)].tolist()) == {label}


def test_every_label_has_enough_test_digits() -> None:
    """A quarter of the 174 to 183 digits a label has."""
    assert all(43 <= len(own) <= 46 for own in split_indices("test"))


def test_no_test_digit_is_pixel_for_pixel_a_train_digit() -> None:
    """Disjoint indices would prove little if the data set repeated itself."""
    images, _ = load_digits()
    test = {images[index].tobytes() for own in split_indices("test") for index in own}
    assert all(images[index].tobytes() not in test for own in split_indices("train") for index in own)
