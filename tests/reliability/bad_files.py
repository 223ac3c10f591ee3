"""Files of every kind that are bad in every way a disk, a copy or a stranger can make them."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Maker = Callable[[Path], object]
HUGE = 8 << 30
"""Bytes of a file that would fill the memory if it were read; sparse, so that it takes no disk."""

EXECUTED = "executed by a pickle"


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(4096))


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(4096))


def text(path: Path) -> None:
    path.write_text("this is no such file\n" * 50)


def html(path: Path) -> None:
    """What a download behind a login page gives."""
    path.write_text("<!DOCTYPE html><html><body>Please log in</body></html>")


def huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(HUGE)


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def picture(path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(path, "PNG")


def missing(_: Path) -> None:
    """Nothing at all."""


EVERY_KIND: dict[str, Maker] = {
    "empty": empty,
    "zeros": zeros,
    "noise": noise,
    "text": text,
    "a login page": html,
    "8 GiB": huge,
    "a folder": folder,
    "a pipe": pipe,
    "a loop of links": loop,
    "a dangling link": dangling,
    "a device": device,
    "missing": missing,
}


def truncated(good: bytes, share: float) -> Maker:
    """A whole file cut short."""
    return lambda path: path.write_bytes(good[: int(len(good) * share)])


def png_bomb(path: Path) -> None:
    """A PNG of 60,000 × 60,000 pixels in a few kilobytes."""
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(7501)) for _ in range(600)) + rows.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def zip_bomb(path: Path) -> None:
    """A zip, as .pth and .npz are, whose one member unpacks to 256 MiB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data.pkl", "w") as member:
        for _ in range(64):
            member.write(bytes(1 << 22))


class Malice:
    """Unpickled, it writes a file: what no file given to us may ever do."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.system, (f"echo {EXECUTED} > '{self.proof}'",)


def malicious_npy(proof: Path) -> bytes:
    """An array of objects whose pickle runs code."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([Malice(proof)], dtype=object), allow_pickle=True)
    return buffer.getvalue()
