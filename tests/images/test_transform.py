"""Resizing and cropping against torchvision's arithmetic, written out here from its definition."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnest_edge.errors import ImageError
from resnest_edge.images import MAX_PIXELS, normalise, transform
from resnest_edge.spec import Interpolation, Preprocessing, ResizeMode

FILTERS = {Interpolation.BILINEAR: Image.Resampling.BILINEAR, Interpolation.BICUBIC: Image.Resampling.BICUBIC}


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def half_even(value: Fraction) -> int:
    """Nearest integer, halves to even, in exact arithmetic."""
    floor = value.numerator // value.denominator
    rest = value - floor
    return floor + int(rest > Fraction(1, 2) or (rest == Fraction(1, 2) and floor % 2 == 1))


def shorter_side(pixels: npt.NDArray[np.uint8], side: int, resize: int, how: Interpolation) -> npt.NDArray[Any]:
    """Resize(resize) then CenterCrop(side): the longer side truncated, the offset rounded half to even."""
    height, width = pixels.shape[:2]
    longer = max(height, width) * resize // min(height, width)
    new_height, new_width = (longer, resize) if height >= width else (resize, longer)
    resized = np.asarray(Image.fromarray(pixels).resize((new_width, new_height), FILTERS[how]))
    top, left = (half_even(Fraction(length - side, 2)) for length in (new_height, new_width))
    return resized[top : top + side, left : left + side]


def centre_first(pixels: npt.NDArray[np.uint8], side: int, resize: int, how: Interpolation) -> npt.NDArray[Any]:
    """The authors' ECenterCrop: a square of side/resize of the shorter side, its four edges rounded, resized."""
    height, width = pixels.shape[:2]
    crop = side / resize * min(height, width)
    top, left = (round((length - crop) / 2) for length in (height, width))
    cut = pixels[top : round(top + crop), left : round(left + crop)]
    return np.asarray(Image.fromarray(cut).resize((side, side), FILTERS[how]))


sizes = st.tuples(st.integers(1, 300), st.integers(1, 300))
interpolations = st.sampled_from(list(Interpolation))


@given(size=sizes, side=st.integers(1, 48), margin=st.integers(0, 20), how=interpolations)
@settings(max_examples=60)
def test_shorter_side_is_torchvisions_resize_and_centre_crop(
    size: tuple[int, int], side: int, margin: int, how: Interpolation
) -> None:
    pixels = picture(*size)
    got = transform(pixels, Preprocessing(side, side + margin, interpolation=how))
    np.testing.assert_array_equal(got, shorter_side(pixels, side, side + margin, how))


@given(size=sizes, side=st.integers(16, 48), margin=st.integers(0, 32), how=interpolations)
@settings(max_examples=60)
def test_centre_then_resize_is_the_authors_crop(
    size: tuple[int, int], side: int, margin: int, how: Interpolation
) -> None:
    pixels = picture(size[0] + 2, size[1] + 2)
    preprocessing = Preprocessing(side, side + margin, ResizeMode.CENTER_THEN_RESIZE, how)
    np.testing.assert_array_equal(transform(pixels, preprocessing), centre_first(pixels, side, side + margin, how))


@given(size=sizes, side=st.integers(1, 48), how=interpolations)
@settings(max_examples=30)
def test_squash_resizes_both_sides(size: tuple[int, int], side: int, how: Interpolation) -> None:
    pixels = picture(*size)
    expected = np.asarray(Image.fromarray(pixels).resize((side, side), FILTERS[how]))
    np.testing.assert_array_equal(transform(pixels, Preprocessing(side, side, ResizeMode.SQUASH, how)), expected)


@given(size=sizes, mode=st.sampled_from(list(ResizeMode)), side=st.integers(16, 40))
@settings(max_examples=40)
def test_a_grey_picture_stays_that_grey_in_every_mode(size: tuple[int, int], mode: ResizeMode, side: int) -> None:
    preprocessing = Preprocessing(side, side if mode is ResizeMode.SQUASH else side + 6, mode)
    got = transform(np.full((*size, 3), 130, np.uint8), preprocessing)
    assert got.shape == (side, side, 3)
    assert got.dtype == np.uint8
    assert (got == 130).all()  # no padding and no filter weight missing anywhere


def test_a_picture_of_the_input_size_passes_unchanged() -> None:
    pixels = picture(224, 224)
    np.testing.assert_array_equal(transform(pixels, Preprocessing(224, 224)), pixels)


def test_downscaling_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    squashed = transform(stripes, Preprocessing(8, 8, ResizeMode.SQUASH))
    # Sampling without a filter would give 0 or 255. Inside, every output pixel sees as much black as white.
    assert np.abs(squashed[:, 1:-1].astype(int) - 127).max() <= 1


def test_a_pillow_image_and_its_pixels_give_the_same() -> None:
    pixels = picture(50, 70)
    preprocessing = Preprocessing(32, 36)
    np.testing.assert_array_equal(transform(Image.fromarray(pixels), preprocessing), transform(pixels, preprocessing))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        Image.new("L", (4, 4)),
    ],
    ids=["grey", "alpha", "empty", "float", "pillow grey"],
)
def test_anything_but_rgb_bytes_is_refused(bad: Any) -> None:
    with pytest.raises(ImageError):
        transform(bad, Preprocessing(2, 2))


def test_an_elongated_picture_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(ImageError, match=rf"40000x1 .*elongated.*{MAX_PIXELS}"):
        transform(picture(1, 40000), Preprocessing())
    assert transform(picture(1, 40000), Preprocessing(4, 4, ResizeMode.SQUASH)).shape == (4, 4, 3)


def test_a_picture_without_a_central_square_is_refused() -> None:
    with pytest.raises(ImageError, match=r"1x1 .*too small"):
        transform(picture(1, 1), Preprocessing(10, 100, ResizeMode.CENTER_THEN_RESIZE))


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_normalise_follows_its_formula(color: str) -> None:
    images = np.stack([picture(5, 5, seed) for seed in range(3)])
    preprocessing = Preprocessing(5, 5, color=color, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    got = normalise(images, preprocessing)
    assert got.shape == (3, 3, 5, 5)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    for channel in range(3):
        plane = images[..., channel if color == "rgb" else 2 - channel].astype(np.float64)
        expected = (plane / 255 - preprocessing.mean[channel]) / preprocessing.std[channel]
        # Three float32 operations on values up to 8.
        np.testing.assert_allclose(got[:, channel], expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("bad", [np.zeros((5, 5, 3), np.uint8), np.zeros((1, 3, 5, 5), np.uint8)])
def test_normalise_refuses_other_layouts(bad: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="normalisation takes"):
        normalise(bad, Preprocessing(5, 5))
