"""Pictures for people: words drawn on a frame, frames of another size, JPEG. Never what an engine is fed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from resnest_edge.images.base import Pixels

_LINES_PER_HEIGHT = 18
_SMALLEST, _LARGEST = 9, 48
_DARK, _LIGHT = (0, 0, 0, 160), (255, 255, 255)


def with_lines(picture: Pixels, lines: Sequence[str]) -> Pixels:
    """A copy with lines of text on a dark ground in its upper left corner; what does not fit ends in an ellipsis.

    Args:
        picture: (H, W, 3) uint8 RGB.
        lines: from the top down; Pillow's own font draws Latin letters, others as boxes.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    image = Image.fromarray(picture)
    if not lines:
        return np.asarray(image)
    size = min(max(image.height // _LINES_PER_HEIGHT, _SMALLEST), _LARGEST)
    font, margin = _font(size), size // 3
    fitting = [_fitted(line, font, image.width - 4 * margin) for line in lines]
    step = round(size * 1.35)
    width = max(font.getlength(line) for line in fitting)
    draw = ImageDraw.Draw(image, "RGBA")
    draw.rectangle((margin, margin, 3 * margin + width, 2 * margin + step * len(fitting)), fill=_DARK)
    for number, line in enumerate(fitting):
        draw.text((2 * margin, 1.5 * margin + step * number), line, font=font, fill=_LIGHT)
    return np.asarray(image)


def fitted(picture: Pixels, width: int, height: int) -> Pixels:
    """The whole picture within ``width`` × ``height`` pixels, black where it does not reach: (height, width, 3)."""
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(ImageOps.pad(Image.fromarray(picture), (width, height), Image.Resampling.BILINEAR))


def at_most(picture: Pixels, width: int) -> Pixels:
    """The picture no wider than ``width`` pixels, its shape kept."""
    image = Image.fromarray(picture)
    if image.width <= width:
        return picture
    height = max(1, round(image.height * width / image.width))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))


def to_jpeg(picture: Pixels, quality: int) -> bytes:
    """Encode (H, W, 3) uint8 RGB as a baseline JPEG of the given quality, 1 to 95."""
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _fitted(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    if font.getlength(line) <= width:
        return line
    keep = len(line)
    while keep and font.getlength(line[:keep] + "…") > width:
        keep -= 1
    return line[:keep] + "…"


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
