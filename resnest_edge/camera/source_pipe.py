"""Raw pictures from another program's pipe: a Jetson's CSI camera through ``gst-launch-1.0``.

The pipeline is that of NVIDIA's Accelerated GStreamer guide: ``nvarguscamerasrc`` captures NV12 into NVMM memory,
``nvvidconv`` turns and copies it out. Pixels come through a pipe of their own, because the plugin talks on stdout.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from typing import IO

import numpy as np

from resnest_edge.camera.sources import Damage, Picture
from resnest_edge.camera.uri import SourceURI
from resnest_edge.errors import UnavailableError, UsageError

LAUNCH = "gst-launch-1.0"
_SENSOR = "nvarguscamerasrc"
_PATIENCE = 2.0


def csi_pipeline(sensor: int, width: int, height: int, fps: float, flip: int, fd: int) -> list[str]:
    """The arguments of ``gst-launch-1.0`` that write a sensor's pictures, packed RGB, to file descriptor ``fd``."""
    elements = (
        [_SENSOR, f"sensor-id={sensor}"],
        [f"video/x-raw(memory:NVMM),width={width},height={height},framerate={_fraction(fps)},format=NV12"],
        ["nvvidconv", f"flip-method={flip}"],
        [f"video/x-raw,width={width},height={height},format=BGRx"],
        ["videoconvert"],
        ["video/x-raw,format=RGB"],
        ["fdsink", f"fd={fd}", "sync=false"],
    )
    words = [word for element in elements for word in (*element, "!")]
    return [LAUNCH, "-q", *words[:-1]]


def csi_source(uri: SourceURI, *, timeout: float) -> PipeSource:
    """The source of a ``csi://`` URI; 1280×720 at 30 frames a second where it does not say.

    Raises:
        UnavailableError: GStreamer or NVIDIA's plugin is not installed.
        UsageError: the width is not a multiple of 4, which GStreamer would pad.
    """
    if shutil.which(LAUNCH) is None or not _has_element(_SENSOR):
        raise UnavailableError(
            f"csi:// needs GStreamer with {_SENSOR}",
            hint="It comes with JetPack; on other machines use v4l2:// or rtsp://.",
        )
    width, height = int(uri.options.get("width", 1280)), int(uri.options.get("height", 720))
    if width % 4:
        raise UsageError(f"a width of {width} is not a multiple of 4")
    fps, flip, sensor = uri.options.get("fps", 30.0), int(uri.options.get("flip", 0)), int(uri.location)

    def command(fd: int) -> list[str]:
        return csi_pipeline(sensor, width, height, fps, flip, fd)

    return PipeSource(uri.name, command, width, height, timeout=timeout)


class PipeSource:
    """Pictures of one size that a program writes to a pipe, packed RGB, one after another.

    Args:
        name: the source's name.
        command: makes the program's arguments from the file descriptor to write to.
        width: of each picture, pixels.
        height: likewise.
        timeout: seconds that the next picture may take.
    """

    live = endless = True

    def __init__(
        self, name: str, command: Callable[[int], Sequence[str]], width: int, height: int, *, timeout: float = 10.0
    ) -> None:
        self.name = name
        self._command, self._shape, self._timeout = command, (height, width, 3), timeout
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def frames(self) -> Generator[Picture | Damage, None, None]:
        """Start the program and read; it is ended with the iteration."""
        read, write = os.pipe()
        with os.fdopen(read, "rb", buffering=0) as pipe, tempfile.TemporaryFile() as words:
            process = self._start(write, words)
            try:
                while True:
                    yield Picture(self._next(pipe, words))
            finally:
                _end(process)

    def interrupt(self) -> None:
        """Kill the program: the pipe ends with it."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()

    def _start(self, write: int, words: IO[bytes]) -> subprocess.Popen[bytes]:
        command = list(self._command(write))
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, pass_fds=[write], start_new_session=True
            )
        except OSError as exc:
            raise UnavailableError(f"{command[0]} cannot be started ({exc.strerror})", where=self.name) from exc
        finally:
            os.close(write)
        with self._lock:
            self._process = process
        return process

    def _next(self, pipe: IO[bytes], words: IO[bytes]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        image = np.empty(self._shape, np.uint8)
        left = memoryview(image.data).cast("B")
        while len(left):
            ready, _, _ = select.select([pipe], [], [], self._timeout)
            if not ready:
                raise UnavailableError(f"no picture within {self._timeout:g} s", where=self.name)
            count = os.readv(pipe.fileno(), [left])
            if count == 0:
                raise UnavailableError(f"the capture program ended ({_last_words(words)})", where=self.name)
            left = left[count:]
        return image


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(words: IO[bytes]) -> str:
    words.seek(0)
    lines = words.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in lines if "ERROR" in line), "it said nothing of an error")


def _has_element(name: str) -> bool:
    inspect = shutil.which("gst-inspect-1.0")
    return inspect is not None and subprocess.run([inspect, "--exists", name], check=False).returncode == 0


def _fraction(fps: float) -> str:
    return f"{fps:.0f}/1" if fps == int(fps) else f"{fps * 1000:.0f}/1000"
