"""What a source is to the stream, and the one place that opens every kind."""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from resnest_edge.camera.uri import Kind, SourceURI


class Picture(NamedTuple):
    """One decoded picture: (H, W, 3) uint8 RGB, and its own name where it has one."""

    image: npt.NDArray[np.uint8]
    name: str = ""


class Damage(NamedTuple):
    """A piece of a stream that the decoder refused; no picture came of it."""

    reason: str


class Source(Protocol):
    """Where pictures come from. One thread iterates; another may interrupt."""

    name: str

    live: bool
    """Whether the oldest waiting picture gives way to the newest, instead of waiting; final once a picture came."""

    endless: bool
    """Whether an end is a loss, after which the source is opened again; final once a picture came."""

    def frames(self) -> Generator[Picture | Damage, None, None]:
        """Open the source, give its pictures in order, and free it when the iterator is exhausted or closed.

        A second call opens it again.

        Raises (from the iteration):
            UnavailableError: it cannot be reached, or was lost, or did not answer in time; later it may.
            InputError: it can be reached and is not something to decode, or refuses us; trying again is no use.
        """
        ...

    def interrupt(self) -> None:
        """Make a blocked iteration end soon, from another thread; it may be called at any time."""
        ...


def open_source(uri: SourceURI, *, timeout: float = 10.0) -> Source:
    """The source behind a URI; libraries, devices and folders are looked for now, connections are made later.

    Args:
        uri: see :func:`resnest_edge.camera.uri.parse_source`.
        timeout: seconds that opening, and that waiting for the next piece of a stream, may take.

    Raises:
        UnavailableError: PyAV or GStreamer is not installed, or the device is not here.
        ImageError: an image folder that cannot be used.
    """
    if uri.kind is Kind.DEMO:
        from resnest_edge.camera.source_pictures import DemoSource

        return DemoSource(
            uri.name,
            uri.location,
            fps=uri.options.get("fps", 15.0),
            hold=int(uri.options.get("hold", 15)),
            frames=int(uri.options["frames"]) if "frames" in uri.options else None,
        )
    if uri.kind is Kind.PICTURES:
        from resnest_edge.camera.source_pictures import PictureSource

        return PictureSource(uri.name, uri.location)
    if uri.kind is Kind.CSI:
        from resnest_edge.camera.source_pipe import csi_source

        return csi_source(uri, timeout=timeout)
    from resnest_edge.camera.source_video import video_source

    return video_source(uri, timeout=timeout)
