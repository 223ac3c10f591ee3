"""Pictures for people: what is drawn where, and what is left alone."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resnest_edge.images.draw import at_most, fitted, to_jpeg, with_lines

GREY = np.full((240, 320, 3), 128, np.uint8)


def test_lines_are_drawn_on_a_copy_in_the_upper_left_corner() -> None:
    before = GREY.copy()
    drawn = with_lines(GREY, ["door  2026-01-02", "91.4 %  grey whale"])
    np.testing.assert_array_equal(GREY, before)
    changed = (drawn != GREY).any(axis=2)
    rows, columns = changed.any(axis=1).nonzero()[0], changed.any(axis=0).nonzero()[0]
    assert rows.min() < 10 and rows.max() < 60 and columns.min() < 10 and columns.max() < 200
    assert drawn.max() > 240 and drawn.min() < 60  # light letters on a dark ground
    np.testing.assert_array_equal(with_lines(GREY, []), GREY)


def test_other_words_look_other_and_longer_ones_end_within_the_picture() -> None:
    assert (with_lines(GREY, ["cat"]) != with_lines(GREY, ["dog"])).any()
    long, longer = (with_lines(GREY, ["w" * count]) for count in (100, 200))
    np.testing.assert_array_equal(long, longer)  # both end in an ellipsis at the same place
    assert (long[:, 317:] == GREY[:, 317:]).all()


@given(st.integers(1, 90), st.integers(1, 90), st.lists(st.text(max_size=30), max_size=3))
def test_any_size_and_any_text_can_be_drawn(width: int, height: int, lines: list[str]) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    assert with_lines(picture, lines).shape == picture.shape


@pytest.mark.parametrize(
    ("size", "expected"), [((1920, 1080), (640, 360)), ((640, 2000), (640, 2000)), ((30, 9), (30, 9))]
)
def test_pictures_are_shrunk_to_a_width_and_never_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    shrunk = at_most(np.zeros((size[1], size[0], 3), np.uint8), 640)
    assert shrunk.shape == (expected[1], expected[0], 3)


def test_a_picture_is_fitted_whole_and_centred() -> None:
    white = np.full((40, 20, 3), 255, np.uint8)
    within = fitted(white, 80, 80)
    assert within.shape == (80, 80, 3) and within[:, 20:60].min() == 255 and within[:, :19].max() == 0
    assert fitted(white, 20, 40) is white


def test_a_jpeg_of_the_picture() -> None:
    with Image.open(BytesIO(to_jpeg(GREY, 80))) as image:
        assert (image.format, image.size) == ("JPEG", (320, 240))
        assert abs(int(np.asarray(image).mean()) - 128) <= 1
