"""Video through PyAV: files, RTSP and HTTP cameras, V4L2 devices. The one file that imports it."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from resnest_edge.camera.sources import Damage, Picture
from resnest_edge.camera.uri import Kind, SourceURI
from resnest_edge.errors import InputError, ResnestEdgeError, UnavailableError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

MAX_DAMAGE = 250
"""Refused packets in a row after which a stream is given up: ten seconds of a camera at 25 frames a second."""

_RTSP = {"rtsp_transport": "tcp"}  # over UDP a lost packet is a grey picture until the next key frame


def video_source(uri: SourceURI, *, timeout: float) -> VideoSource:
    """The source of a video file, an RTSP or HTTP URL, or a V4L2 device.

    Raises:
        UnavailableError: PyAV is not installed, or the device is not here.
    """
    _av()
    if uri.kind is Kind.V4L2:
        if not Path(uri.location).exists():
            raise UnavailableError("there is no such device", where=uri.location, hint="Is the camera plugged in?")
        options = _v4l2_options(uri.options)
        return VideoSource(uri.name, uri.location, "video4linux2", options, live=True, timeout=timeout)
    live = uri.kind is not Kind.VIDEO
    options = _RTSP if uri.kind is Kind.RTSP else {}
    return VideoSource(
        uri.name, uri.location, None, options, live=live, finite=uri.kind is Kind.HTTP, shown=uri.shown, timeout=timeout
    )


class VideoSource:
    """The first video stream of whatever FFmpeg opens, upright, in RGB.

    Args:
        name: the source's name.
        location: path, URL or device.
        form: FFmpeg's input format; None lets it find out.
        options: FFmpeg's options.
        live: whether this is a camera.
        finite: whether a live source that turns out to have a duration is a file after all (HTTP).
        shown: the location for messages, without a password.
        timeout: seconds that opening, and that each read, may take.
    """

    def __init__(
        self,
        name: str,
        location: str,
        form: str | None,
        options: Mapping[str, str],
        *,
        live: bool,
        finite: bool = False,
        shown: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        self.name = name
        self.live = self.endless = live
        self._location, self._form, self._options = location, form, dict(options)
        self._finite, self._shown, self._timeout = finite, shown or location, timeout
        self._stopped = threading.Event()
        self._asked = 0.0

    def frames(self) -> Generator[Picture | Damage, None, None]:
        """Open it and decode; see :class:`~resnest_edge.camera.sources.Source`."""
        self._stopped.clear()
        try:
            with self._open() as container:
                yield from self._decode(container)
        except _av().error.FFmpegError as exc:
            raise self._lost(exc) from exc

    def interrupt(self) -> None:
        """End at the next packet; FFmpeg itself gives a silent one up after the timeout."""
        self._stopped.set()

    def _open(self) -> InputContainer:
        self._asked = perf_counter()
        container: InputContainer = _av().open(
            self._location, format=self._form, options=self._options, timeout=(self._timeout, self._timeout)
        )
        if self._finite and container.duration is not None:
            self.live = self.endless = False
        if not container.streams.video:
            container.close()
            raise InputError("there is no video in it", where=self._shown)
        return container

    def _decode(self, container: InputContainer) -> Generator[Picture | Damage, None, None]:
        stream = container.streams.video[0]
        # Decoding several frames at once delays each by as many: right for files, wrong for cameras.
        stream.thread_type = "SLICE" if self.live else "AUTO"
        refused, error = 0, _av().error.FFmpegError
        self._asked = perf_counter()
        for packet in container.demux(stream):
            if self._stopped.is_set():
                return
            try:
                decoded = packet.decode()
            except error as exc:
                refused += 1
                if refused > MAX_DAMAGE:
                    raise
                yield Damage(_reason(exc))
                decoded = []
            for frame in decoded:
                refused = 0
                yield Picture(_upright(frame))
            self._asked = perf_counter()

    def _lost(self, exc: av.error.FFmpegError) -> ResnestEdgeError:
        errors = _av().error
        if isinstance(exc, (errors.HTTPUnauthorizedError, errors.HTTPForbiddenError)):
            hint = "Check user and password; in a URL they are rtsp://user:password@host/…"
            return InputError(f"access is refused ({_reason(exc)})", where=self._shown, hint=hint)
        # An interrupted RTSP handshake says "invalid data", so what counts is how long it took.
        if isinstance(exc, errors.ExitError) or perf_counter() - self._asked >= self._timeout:
            return UnavailableError(f"no answer within {self._timeout:g} s", where=self._shown)
        if self.live:
            return UnavailableError(f"the stream was lost ({_reason(exc)})", where=self._shown)
        return InputError(f"this video cannot be decoded ({_reason(exc)})", where=self._shown)


def _upright(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    image = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    turns = round(frame.rotation / 90) % 4  # telephones store what the sensor saw, and how they were held
    return image if turns == 0 else np.ascontiguousarray(np.rot90(image, turns))


def _v4l2_options(query: Mapping[str, float]) -> dict[str, str]:
    options: dict[str, str] = {}
    if "width" in query and "height" in query:
        options["video_size"] = f"{query['width']:.0f}x{query['height']:.0f}"
    if "fps" in query:
        options["framerate"] = f"{query['fps']:g}"
    return options


def _reason(exc: av.error.FFmpegError) -> str:
    """FFmpeg's words without the location, which may hold a password."""
    return str(exc.strerror or type(exc).__name__)


def _av() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as exc:
        raise UnavailableError(
            "PyAV, which decodes video, is not installed", hint="Install it with: pip install 'resnest-edge[camera]'."
        ) from exc
