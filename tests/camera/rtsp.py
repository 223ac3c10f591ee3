"""Real RTSP cameras on loopback, served by Debian's GStreamer; tests skip, and say so, where it is missing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType

import pytest

SERVER = Path(__file__).resolve().parents[1] / "support" / "rtsp_server.py"
SYSTEM_PYTHON = "/usr/bin/python3"
NEEDS = "needs Debian's gir1.2-gst-rtsp-server-1.0, python3-gi and gstreamer1.0-plugins-{base,good,bad}"

_PROBE = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert all(Gst.ElementFactory.find(name) for name in ("qtdemux", "h264parse", "rtph264pay", "breakmydata"))
"""

PAY = "rtph264pay name=pay0 pt=96 config-interval=-1"


def movie(path: Path) -> str:
    """The launch line of an MP4 file."""
    return f'filesrc location="{path}" ! qtdemux ! h264parse ! {PAY}'


def elementary(path: Path) -> str:
    """The launch line of an H.264 elementary stream, whose size may change."""
    return f'filesrc location="{path}" ! h264parse ! video/x-h264,stream-format=byte-stream,alignment=au ! {PAY}'


def broken(path: Path, probability: float) -> str:
    """The launch line of an MP4 file of whose bytes some are changed, after the first 900."""
    byte_stream = "h264parse ! video/x-h264,stream-format=byte-stream"
    damage = f"breakmydata seed=1 probability={probability} skip=900"
    return f'filesrc location="{path}" ! qtdemux ! {byte_stream} ! {damage} ! {PAY}'


@cache
def available() -> bool:
    """Whether the system's Python has GStreamer's RTSP server and the elements that the tests use."""
    if not Path(SYSTEM_PYTHON).exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", _PROBE], capture_output=True, check=False).returncode == 0


class RtspServer:
    """Serves launch lines under their names."""

    def __init__(self, **mounts: str) -> None:
        lines = [f"/{name}={launch}" for name, launch in mounts.items()]
        command = [SYSTEM_PYTHON, str(SERVER), *lines]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._port = int(self._line())

    def url(self, name: str) -> str:
        """Where a mount is."""
        return f"rtsp://127.0.0.1:{self._port}/{name}"

    def kick(self) -> int:
        """Cut every client off; how many there were."""
        assert self._process.stdin is not None
        self._process.stdin.write("kick\n")
        self._process.stdin.flush()
        return int(self._line().removeprefix("kicked "))

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # closes stdin, which ends it

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def serving(**mounts: str) -> Iterator[RtspServer]:
    """A server while the block runs; skips the test where there is no GStreamer."""
    if not available():
        pytest.skip(NEEDS)
    with RtspServer(**mounts) as server:
        yield server
