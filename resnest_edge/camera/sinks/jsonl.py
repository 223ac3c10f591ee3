"""JSON lines: one object a result, whole lines only, in a file or on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from resnest_edge.camera.base import CameraResult, SourceCounts
from resnest_edge.camera.sinks.failures import sink_error
from resnest_edge.camera.sinks.record import to_json


class JsonLines:
    """Appends to a file, or writes to stdout where the path is ``-``.

    A line that does not fit on the disk is taken back, so that the file holds whole lines whatever happens. A pipe
    that nobody reads holds the run up, as pipes do.

    Args:
        path: of the file; it and its folder are made if need be.

    Raises:
        OutputError: it cannot be opened for writing.
    """

    def __init__(self, path: str) -> None:
        self.name = f"jsonl:{path}"
        self._written = self._failed = 0
        self._path = path
        self._begin = b""
        self._closed = False
        self._file: int | None = None if path == "-" else self._open(Path(path))

    def write(self, result: CameraResult) -> None:
        """Write one line, at once: a reader that follows the file sees it."""
        line = json.dumps(to_json(result), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        try:
            if self._file is None:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            else:
                _append(self._file, self._begin + line)
                self._begin = b""
        except OSError as exc:
            self._failed += 1
            raise sink_error(self.name, exc.errno, exc.strerror) from exc
        self._written += 1

    def status(self, counts: Mapping[str, SourceCounts]) -> None:
        """Nothing: accounts are not results."""

    def counters(self) -> Mapping[str, int]:
        """Lines written and lost."""
        return {"written": self._written, "failed": self._failed}

    def close(self) -> None:
        """Close the file."""
        if self._file is not None and not self._closed:
            os.close(self._file)
        self._closed = True

    def _open(self, path: Path) -> int:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except (OSError, ValueError) as exc:
            raise sink_error(self.name, getattr(exc, "errno", None), getattr(exc, "strerror", str(exc))) from exc
        if path.is_file():  # not a pipe or a device, which reading would take from
            with contextlib.suppress(OSError), path.open("rb") as written:
                written.seek(-1, os.SEEK_END)
                self._begin = b"" if written.read(1) == b"\n" else b"\n"  # half a line of another run stays apart
        return file


def _append(file: int, data: bytes) -> None:
    """Append all of it or nothing."""
    done = 0
    try:
        while done < len(data):
            done += os.write(file, data[done:])
    except OSError:
        if done:
            with contextlib.suppress(OSError):
                os.ftruncate(file, os.fstat(file).st_size - done)
        raise
