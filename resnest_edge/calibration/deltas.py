"""Small integers, mostly zero, as text: what weight rounding adds to the nearest integers, inside a scales file."""

from __future__ import annotations

import base64
import binascii
import zlib

import numpy as np
import numpy.typing as npt

_MAX_BYTES = 1 << 28  # of one weight: no ONNX model of 2 GiB holds a larger one worth quantizing
_LEVEL = 3


def pack_deltas(deltas: npt.NDArray[np.int8]) -> str:
    """int8 of any shape as base64 of zlib; a weight of a million values takes about 300 KB where a fifth changed."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(deltas).tobytes(), _LEVEL)).decode("ascii")


def unpack_deltas(text: str) -> npt.NDArray[np.int8]:
    """What :func:`pack_deltas` packed, as one flat array.

    Raises:
        ValueError: not such text, cut off, with something behind it, or beyond 2²⁸ values.
    """
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(base64.b64decode(text, validate=True), _MAX_BYTES)
    except (binascii.Error, zlib.error) as exc:
        raise ValueError(f"rounded weights cannot be unpacked ({exc})") from exc
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("rounded weights are cut off, or something stands behind them")
    return np.frombuffer(data, np.int8)
