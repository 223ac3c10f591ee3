"""Videos whose every frame says which one it is, in blocks of black and white that survive any codec."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
BITS = 4  # a grid of 4 × 4 blocks: 16 bits


def stamped(number: int, width: int = 64, height: int = 64) -> Image:
    """A picture that spells ``number``: (height, width, 3) uint8, most significant block first."""
    bits = (number >> np.arange(BITS * BITS - 1, -1, -1)) & 1
    grid = (bits.reshape(BITS, BITS) * 255).astype(np.uint8)
    rows, columns = np.arange(height) * BITS // height, np.arange(width) * BITS // width
    return np.repeat(grid[rows][:, columns, None], 3, axis=2)


def read_stamp(image: Image) -> int:
    """The number that a picture spells, at any size."""
    height, width = image.shape[:2]
    rows, columns = (2 * np.arange(BITS) + 1) * height // (2 * BITS), (2 * np.arange(BITS) + 1) * width // (2 * BITS)
    bits = (image[rows][:, columns, 1] > 127).reshape(-1)
    return int((bits << np.arange(BITS * BITS - 1, -1, -1)).sum())


def write_video(path: Path, images: Iterable[Image], *, codec: str = "libx264", fps: int = 25, gop: int = 5) -> Path:
    """Encode pictures of one size, near lossless, with a key frame every ``gop`` and no reordering."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.codec_context.max_b_frames = 0
        stream.time_base = Fraction(1, fps)
        if codec == "libx264":
            stream.options = {"crf": "8", "preset": "ultrafast", "tune": "zerolatency"}
        for index, image in enumerate(images):
            if index == 0:
                stream.height, stream.width = image.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path
