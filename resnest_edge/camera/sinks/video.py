"""Annotated video: every answered frame with its answers drawn on it, H.264 in MP4 through PyAV."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from resnest_edge.camera.base import CameraResult, SourceCounts
from resnest_edge.camera.sinks.failures import sink_error
from resnest_edge.camera.sinks.record import to_lines
from resnest_edge.errors import OutputError
from resnest_edge.images.draw import fitted, with_lines

_TICKS = 90_000
_Err = (OSError, av.error.FFmpegError)


@dataclass
class _File:
    """One source's video, under its temporary name."""

    temporary: Path
    container: OutputContainer
    stream: VideoStream
    began: float
    last: int = -1
    frames: int = 0


class AnnotatedVideo:
    """One file a source, each in its source's first frame's size; the files take their names when they are whole.

    With one source the file is ``PATH.mp4``; with more they are ``PATH-SOURCE.mp4``. Encoding happens in the thread
    that writes, and every frame is kept: a slow disk or encoder holds files up, and makes live sources drop frames.

    Args:
        path: of the file, ending in ``.mp4``.
        fps: frames a second to play at; None plays at the pace of capture, which for a camera is real time.

    Raises:
        OutputError: the file exists, or its folder cannot be written to.
    """

    def __init__(self, path: Path, fps: float | None = None) -> None:
        self.name = f"video:{path}"
        self._path, self._fps = path, fps
        self._files: dict[str, _File] = {}
        self._broken: dict[str, str] = {}
        self._written = self._failed = 0
        self._closed = False
        self._refuse(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as exc:
            raise sink_error(path, exc.errno, exc.strerror) from exc

    def write(self, result: CameraResult) -> None:
        """Draw and encode one frame; after a failure the rest of that source's video is given up."""
        source = result.frame.source
        try:
            if source in self._broken:
                raise OutputError(f"the video of {source} was given up ({self._broken[source]})", where=self._path)
            self._encode(self._files.get(source) or self._open(result), result)
        except OutputError:
            self._failed += 1
            raise
        except _Err as exc:
            self._failed += 1
            error = sink_error(self._path, exc.errno, exc.strerror)
            self._broken[source] = error.what
            raise error from exc
        self._written += 1

    def status(self, counts: Mapping[str, SourceCounts]) -> None:
        """Nothing: accounts are not frames."""

    def counters(self) -> Mapping[str, int]:
        """Frames written and lost."""
        return {"written": self._written, "failed": self._failed}

    def close(self) -> None:
        """Finish every file and give it its name; a video that broke off is removed.

        Raises:
            OutputError: one of them could not be finished; the others are.
        """
        if self._closed:
            return
        self._closed = True
        errors = [error for source, file in self._files.items() if (error := self._finish(source, file)) is not None]
        if errors:
            raise errors[0]

    def _open(self, result: CameraResult) -> _File:
        source, image = result.frame.source, result.frame.image
        if self._files:  # more than one source: their names are in use
            for name in (source, *self._files):
                self._refuse(self._final(name, alone=False))
        temporary = self._path.with_name(f".{self._path.stem}-{source}.{os.getpid()}.mp4")
        file = self._files[source] = _begin(temporary, image.shape[1], image.shape[0], result.frame.captured)
        return file

    def _encode(self, file: _File, result: CameraResult) -> None:
        picture = with_lines(fitted(result.frame.image, file.stream.width, file.stream.height), to_lines(result))
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        tick = round(file.frames * _TICKS / self._fps) if self._fps else self._tick(file, result)
        file.last = frame.pts = max(tick, file.last + 1)  # a player wants every frame later than the one before
        frame.time_base = Fraction(1, _TICKS)
        file.container.mux(file.stream.encode(frame))
        file.frames += 1

    def _tick(self, file: _File, result: CameraResult) -> int:
        return round((result.frame.captured - file.began) * _TICKS)

    def _finish(self, source: str, file: _File) -> OutputError | None:
        final = self._final(source, alone=len(self._files) == 1)
        try:
            if source not in self._broken:
                file.container.mux(file.stream.encode(None))
            file.container.close()
        except _Err as exc:
            self._broken[source] = sink_error(final, exc.errno, exc.strerror).what
        if source in self._broken:
            with contextlib.suppress(OSError):
                os.unlink(file.temporary)
            return OutputError(f"the video of {source} was given up ({self._broken[source]})", where=final)
        if os.path.lexists(final):
            return OutputError("appeared while the video was made", where=final, hint=f"It stays as {file.temporary}.")
        os.rename(file.temporary, final)
        return None

    def _final(self, source: str, *, alone: bool) -> Path:
        return self._path if alone else self._path.with_name(f"{self._path.stem}-{source}{self._path.suffix}")

    def _refuse(self, path: Path) -> None:
        if os.path.lexists(path):
            raise OutputError("already exists", where=path, hint="Choose another name for the video, or move it away.")


def _begin(path: Path, width: int, height: int, began: float) -> _File:
    """Open a video of even sides, which 4:2:0 needs: a picture of odd ones is fitted in."""
    container = av.open(str(path), "w")
    stream = container.add_stream("h264")
    stream.width, stream.height = max(2, width & ~1), max(2, height & ~1)
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = Fraction(1, _TICKS)
    if stream.codec_context.codec.name == "libx264":
        stream.options = {"preset": "veryfast"}
    return _File(path, container, stream, began)
