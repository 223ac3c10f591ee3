"""Decoding: the pixels are Pillow's, every way to fail is an ImageError that names the file."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from resnest_edge.errors import ImageError
from resnest_edge.images import MAX_BYTES, MAX_PIXELS, decode, decode_file

COLOUR = np.random.default_rng(0).integers(0, 256, (19, 23, 3), dtype=np.uint8)
ORIENTATION = 0x0112


def encode(picture: Image.Image | npt.NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@contextlib.contextmanager
def pillows_remarks_ignored() -> Iterator[None]:
    """Pillow warns of some damage, in words that vary with its version; what comes out is under test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def orientation_block(value: int, order: str = "<", *, prefix: bytes = b"Exif\x00\x00") -> bytes:
    head = b"II*\x00" if order == "<" else b"MM\x00*"
    make = struct.pack(f"{order}HHI4s", 0x010F, 2, 4, b"abc\x00")
    entry = struct.pack(f"{order}HHIHxx", ORIENTATION, 3, 1, value)
    return prefix + head + struct.pack(f"{order}IH", 8, 2) + make + entry + bytes(4)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_give_back_every_pixel(kind: str) -> None:
    pixels = decode(encode(COLOUR, kind), "x")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, COLOUR)


def test_webp_lossless_gives_back_every_pixel() -> None:
    np.testing.assert_array_equal(decode(encode(COLOUR, "WEBP", lossless=True), "x"), COLOUR)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_decoded_at_full_size_without_draft_mode(progressive: bool) -> None:
    data = encode(np.repeat(np.repeat(COLOUR, 20, axis=0), 20, axis=1), "JPEG", progressive=progressive)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode(data, "x"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_is_what_convert_rgb_makes_of_it(mode: str) -> None:
    image = Image.fromarray(COLOUR).convert(mode)
    data = encode(image, "TIFF" if mode == "CMYK" else "PNG")
    np.testing.assert_array_equal(decode(data, "x"), np.asarray(image.convert("RGB")))


def test_cmyk_jpeg_is_what_convert_rgb_makes_of_it() -> None:
    data = encode(Image.fromarray(COLOUR).convert("CMYK"), "JPEG")
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "CMYK"
        np.testing.assert_array_equal(decode(data, "x"), np.asarray(image.convert("RGB")))


def test_alpha_is_dropped_not_composited() -> None:
    transparent = np.dstack([COLOUR, np.zeros(COLOUR.shape[:2], np.uint8)])
    np.testing.assert_array_equal(decode(encode(transparent), "x"), COLOUR)


def test_a_palette_with_transparency_warns_of_nothing_and_keeps_its_colours() -> None:
    palette = Image.fromarray(COLOUR).convert("P")
    data = encode(palette, transparency=bytes(range(256)))
    np.testing.assert_array_equal(decode(data, "x"), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PGM"])
def test_grey_of_16_bits_keeps_its_upper_8(kind: str) -> None:
    grey = (np.arange(19 * 23, dtype=np.uint16) * 150).reshape(19, 23)
    assert grey.max() > 65000
    data = b"P5 23 19 65535\n" + grey.astype(">u2").tobytes() if kind == "PGM" else encode(grey, kind)
    pixels = decode(data, "x")
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], (grey >> 8).astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_a_defined_range_are_refused(dtype: type) -> None:
    with pytest.raises(ImageError, match=r"t\.tif: .* no defined range"):
        decode(encode(np.ones((4, 4), dtype), "TIFF"), "t.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_as_pillow_applies_it(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(COLOUR, kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert expected.shape == ((19, 23, 3) if orientation < 5 else (23, 19, 3))
    np.testing.assert_array_equal(decode(data, "x"), expected)


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_in_both_byte_orders(order: str) -> None:
    data = encode(COLOUR, "JPEG", exif=orientation_block(6, order))
    upright = decode(encode(COLOUR, "JPEG"), "x")
    np.testing.assert_array_equal(decode(data, "x"), np.rot90(upright, -1))


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(orientation_block(6).replace(b"\x12\x01\x03", b"\x13\x01\x03"), id="no orientation"),
        pytest.param(orientation_block(0), id="value 0"),
        pytest.param(orientation_block(9), id="value 9"),
        pytest.param(orientation_block(6)[:30], id="cut"),
        pytest.param(b"Exif\x00\x00nonsense", id="nonsense"),
        pytest.param(b"Exif\x00\x00II*\x00\xff\xff\xff\xff", id="offset beyond the end"),
        pytest.param(b"Exif\x00\x00", id="empty"),
    ],
)
def test_a_broken_exif_block_neither_turns_nor_refuses_the_picture(block: bytes) -> None:
    with pillows_remarks_ignored():
        pixels = decode(encode(COLOUR, "JPEG", exif=block), "x")
    np.testing.assert_array_equal(pixels, decode(encode(COLOUR, "JPEG"), "x"))


def test_of_several_frames_the_first_is_taken() -> None:
    other = Image.fromarray(255 - COLOUR)
    data = encode(COLOUR, "TIFF", save_all=True, append_images=[other])
    np.testing.assert_array_equal(decode(data, "x"), COLOUR)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_picture_is_an_error_that_names_it(kind: str, share: float) -> None:
    data = encode(COLOUR, kind)
    with pillows_remarks_ignored(), pytest.raises(ImageError, match=r"^dir/cut\.pic: .*damaged"):
        decode(data[: int(len(data) * share)], "dir/cut.pic")


def test_a_png_with_a_flipped_byte_fails_its_checksum() -> None:
    data = bytearray(encode(COLOUR))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError, match=r"flip\.png: the picture is damaged"):
        decode(bytes(data), "flip.png")


@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF"]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5),
    cut=st.integers(0, 3000),
)
def test_damage_gives_a_picture_or_an_image_error_and_nothing_else(
    kind: str, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(encode(COLOUR, kind))[: cut or None]
    for place, value in changes:
        data[place % len(data)] = value
    pixels, said = COLOUR, "x: "
    with pillows_remarks_ignored():
        try:
            pixels = decode(bytes(data), "x")
        except ImageError as error:
            said = str(error)
    assert said.startswith("x: ")
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


def huge_png(width: int, height: int) -> bytes:
    data = bytearray(encode(np.zeros((1, 1), np.uint8)))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


@pytest.mark.parametrize("sides", [(10000, 9000), (20000, 20000), (60000, 60000)])
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_a_decompression_bomb_is_refused_with_the_limit(sides: tuple[int, int], action: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter(action, Image.DecompressionBombWarning)
        with pytest.raises(ImageError, match=rf"bomb\.png: .* more than {MAX_PIXELS} pixels"):
            decode(huge_png(*sides), "bomb.png")


def test_a_picture_below_the_limit_is_not_taken_for_a_bomb() -> None:
    with pytest.raises(ImageError, match="damaged"):
        decode(huge_png(9000, 9000), "x")


def test_other_formats_are_not_parsed() -> None:
    with pytest.raises(ImageError, match=r"anim\.gif: not a readable picture.*JPEG"):
        decode(encode(COLOUR, "GIF"), "anim.gif")


def test_a_format_goes_by_content_not_by_ending(tmp_path: Path) -> None:
    path = tmp_path / "a.JPEG"
    path.write_bytes(encode(COLOUR))
    np.testing.assert_array_equal(decode_file(path), COLOUR)


def test_each_unusable_file_has_its_own_message(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    messages = {
        "empty.jpg": "is empty",
        "folder.jpg": "is a folder",
        "text.jpg": "not a readable picture",
        "broken.jpg": "does not exist",
        "missing.jpg": "does not exist",
        "self.jpg": "cannot be read",
        "pipe.jpg": "not a regular file",
    }
    for name, message in messages.items():
        with pytest.raises(ImageError, match=message) as caught:
            decode_file(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
        assert caught.value.exit_code == 2


def test_a_path_with_a_null_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not a usable path"):
        decode_file(tmp_path / "a\0b.jpg")


def test_denied_permission_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(COLOUR))

    def deny(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)  # root may read anything, so modes prove nothing here
    with pytest.raises(ImageError, match=r"a\.png: permission"):
        decode_file(path)


def test_an_oversized_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))
    with pytest.raises(ImageError, match=rf"above the limit of {MAX_BYTES}"):
        decode_file(path)
