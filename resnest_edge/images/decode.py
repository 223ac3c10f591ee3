"""From an encoded picture to HWC uint8 RGB, through Pillow; every failure is one ImageError that names the file."""

from __future__ import annotations

import os
import stat
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from resnest_edge.errors import ImageError
from resnest_edge.images.base import Pixels

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are decoded; naming them keeps Pillow's other parsers away from untrusted files."""

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings, in any case, that make a file of a folder a picture. Decoding goes by content, not by ending."""

MAX_PIXELS = 89_478_485
"""Pixels above which a picture is refused: Pillow's own threshold of suspicion, a quarter GiB of RGB."""

MAX_BYTES = 1 << 30
"""Size above which a file is refused unread: an uncompressed picture of MAX_PIXELS with 8 bytes a pixel fits."""

# What Pillow's decoders raise on damaged data: the first three when bytes of every format are flipped and cut,
# the others in reports against its older releases.
_DAMAGE = (OSError, ValueError, SyntaxError, TypeError, EOFError, LookupError, OverflowError, struct.error)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112


def decode_file(path: Path) -> Pixels:
    """Read and decode one picture; see :func:`decode`.

    Raises:
        ImageError: the file is missing, unreadable, not a picture, damaged or too large.
    """
    return decode(read_file(path), str(path))


def read_file(path: Path) -> bytes:
    """Read one picture's encoded bytes, without opening pipes or devices.

    Raises:
        ImageError: the file is missing, a directory, not a regular file, not readable, or above ``MAX_BYTES``.
    """
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise ImageError("this is a folder, not a picture", where=path)
        if not stat.S_ISREG(info.st_mode):
            raise ImageError("this is not a regular file", where=path)
        if info.st_size > MAX_BYTES:
            raise ImageError(f"the file has {info.st_size} bytes, above the limit of {MAX_BYTES}", where=path)
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise ImageError("the picture does not exist", where=path, hint="Check the path, or the link it is.") from exc
    except PermissionError as exc:
        raise ImageError("permission to read the picture is denied", where=path) from exc
    except OSError as exc:
        raise ImageError(f"the picture cannot be read: {exc.strerror or exc}", where=path) from exc
    except ValueError as exc:
        raise ImageError(f"not a usable path: {exc}", where=repr(str(path))) from exc


def decode(data: bytes, name: str) -> Pixels:
    """Decode one picture at its full size.

    EXIF orientation is applied, which torchvision's loader leaves to the user. Otherwise pixels are those of Pillow's
    ``convert("RGB")``, which the ResNeSt variants were evaluated with: grey is repeated, CMYK and palettes are
    converted, and alpha is dropped, not composited. Grey of 16 bits keeps its upper 8, as Pillow does for 16-bit
    colour (``convert`` would clip it at 255). Of several frames the first is taken.

    Args:
        data: the encoded bytes, in one of ``FORMATS``.
        name: what errors call the picture.

    Returns:
        HWC uint8 RGB, values in [0, 255], read-only.

    Raises:
        ImageError: empty, not a picture, truncated or visibly damaged, above ``MAX_PIXELS``, or of a pixel type
            without a defined range (32-bit integers, floats). Damage that leaves a JPEG stream decodable is not seen.
    """
    if not data:
        raise ImageError("the file is empty", where=name)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size, name)
            image.load()
            upright = _to_rgb(image, name)
            turn = _UPRIGHT.get(_orientation(image))
            return np.asarray(upright if turn is None else upright.transpose(turn))
    except UnidentifiedImageError as exc:
        hint = f"Readable are {', '.join(FORMATS)}; convert the picture, or remove it."
        raise ImageError("not a readable picture, or damaged at its start", where=name, hint=hint) from exc
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise _too_large(name) from exc
    except _DAMAGE as exc:
        raise ImageError(f"the picture is damaged: {exc}", where=name, hint="Replace or remove it.") from exc


def _check_size(size: tuple[int, int], name: str) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise _too_large(name)


def _too_large(name: str) -> ImageError:
    return ImageError(f"the picture has more than {MAX_PIXELS} pixels", where=name, hint="Scale it down first.")


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    sixteen_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if sixteen_bits:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "32-bit integer" if image.mode == "I" else "float"
        raise ImageError(f"{kind} pixels have no defined range", where=name, hint="Convert it to 8 or 16 bits.")
    # Alpha is dropped in any case; left in, a palette's makes convert() warn.
    image.info.pop("transparency", None)
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """Orientation (1 to 8) from the EXIF block; 1 where there is none or it cannot be read.

    Read here because Pillow's own reader raises, in ways that vary, on the broken EXIF blocks that ImageNet has.
    TIFF pictures carry no such block: Pillow has turned them while loading.
    """
    exif: bytes = image.info.get("exif", b"")
    tiff = exif[6:] if exif.startswith(b"Exif\x00\x00") else exif
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for offset in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values, value = struct.unpack_from(f"{order}HHIH", tiff, offset)
            if (tag, kind, values) == (_ORIENTATION_TAG, 3, 1):
                return int(value)
    except struct.error:
        return 1
    return 1


def is_picture(name: str) -> bool:
    """Whether a file of this name counts as a picture of its folder."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS
