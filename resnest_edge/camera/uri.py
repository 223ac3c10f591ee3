"""From what the user types after ``--source`` to what is opened: one scheme for files, streams, devices and scenes.

    videos/door.mp4  photos/  photo.jpg  list.txt         files wait for the engine; nothing is dropped
    rtsp://user:secret@camera/door  http://camera/mjpeg   live: the oldest waiting frame gives way to the newest
    v4l2:///dev/video0?width=1280&height=720&fps=30       a USB camera, through PyAV
    csi://0?width=1280&height=720&fps=30&flip=2           a Jetson's camera, through GStreamer
    demo:test?fps=15&hold=15&frames=300                   synthetic scenes; fps=0 is as fast as the engine takes them

``NAME=URI`` names a source; otherwise its host, device or file does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from resnest_edge.errors import InputError, UsageError
from resnest_edge.images.decode import is_picture


class Kind(str, Enum):
    """What kind of thing a source is."""

    VIDEO = "video"
    PICTURES = "pictures"
    RTSP = "rtsp"
    HTTP = "http"
    V4L2 = "v4l2"
    CSI = "csi"
    DEMO = "demo"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class SourceURI:
    """One source, read and checked, and nothing opened yet.

    Attributes:
        kind: which decoder is asked.
        name: unique within a run; letters, digits, ``.``, ``_`` and ``-``.
        location: a path, a URL with its credentials, a device, a sensor's number, or ``test`` or ``train``.
        options: the numbers of the query, for kinds whose query is ours.
        named: whether the user chose the name.
    """

    kind: Kind
    name: str
    location: str = field(repr=False)
    options: Mapping[str, float] = field(default_factory=dict)
    named: bool = False

    @property
    def shown(self) -> str:
        """The location for people and logs: without the password."""
        return without_password(self.location)


SCHEMES = {
    "file": Kind.VIDEO,
    "rtsp": Kind.RTSP,
    "rtsps": Kind.RTSP,
    "http": Kind.HTTP,
    "https": Kind.HTTP,
    "v4l2": Kind.V4L2,
    "csi": Kind.CSI,
}
_SIZE: dict[str, tuple[float, float, bool]] = {
    "width": (16, 16384, True),
    "height": (16, 16384, True),
    "fps": (1, 1000, False),
}
_OPTIONS: dict[Kind, dict[str, tuple[float, float, bool]]] = {
    Kind.V4L2: _SIZE,
    Kind.CSI: {**_SIZE, "flip": (0, 7, True)},
    Kind.DEMO: {"fps": (0, 1000, False), "hold": (1, 10**9, True), "frames": (1, 10**9, True)},
}
"""The queries that are ours: lowest and highest value, and whether it is a whole number."""

_NAMED = re.compile(r"([A-Za-z0-9][\w.-]*)=(.+)", re.ASCII | re.DOTALL)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def parse_sources(texts: Sequence[str]) -> tuple[SourceURI, ...]:
    """Read every ``--source`` of a run; names that nobody chose get a number where they collide.

    Raises:
        UsageError: no source, an unknown scheme or option, a value out of range, or one name given twice.
        InputError: a file or folder does not exist.
    """
    if not texts:
        raise UsageError("there is no source", hint="Give one with --source, for example --source demo:.")
    parsed = [parse_source(text) for text in texts]
    taken = [source.name for source in parsed if source.named]
    if doubled := sorted({name for name in taken if taken.count(name) > 1}):
        raise UsageError(f"two sources are named {doubled[0]!r}", hint="Give each --source NAME=URI its own name.")
    names = set(taken)
    unique = []
    for source in parsed:
        name = source.name if source.named else _free(source.name, names)
        names.add(name)
        unique.append(replace(source, name=name))
    return tuple(unique)


def parse_source(text: str) -> SourceURI:
    """Read one source: a URI, a path, or ``NAME=`` and one of the two.

    Raises:
        UsageError: an unknown scheme or option, or a value out of range.
        InputError: a file or folder does not exist.
    """
    named = None if _exists(text) else _NAMED.fullmatch(text)
    if named is not None:
        return replace(_parse(named.group(2)), name=named.group(1), named=True)
    return _parse(text)


def without_password(text: str) -> str:
    """A URL whose password is replaced by ``***``; anything else as it is."""
    return re.sub(r"(?<=://)([^/@:]*):[^/]*@", r"\1:***@", text)


def _parse(text: str) -> SourceURI:
    if text.startswith("demo:"):
        return _demo(text)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _path(text)
    kind = SCHEMES.get(scheme.group(1).lower())
    if kind is None:
        raise UsageError(
            f"the scheme of {without_password(text)!r} is not known",
            hint=f"Use a path, demo:, or one of {', '.join(f'{name}://' for name in SCHEMES)}.",
        )
    if kind is Kind.VIDEO:
        return _path(unquote(urlsplit(text).path))
    if kind in (Kind.RTSP, Kind.HTTP):
        return _network(kind, text)
    return _device(kind, text)


def _network(kind: Kind, text: str) -> SourceURI:
    try:
        host = urlsplit(text).hostname
        _ = urlsplit(text).port  # out of range raises
    except ValueError as exc:
        raise UsageError(f"{without_password(text)!r} is not a URL ({exc})") from exc
    if not host:
        raise UsageError(f"{without_password(text)!r} names no host", hint="For example rtsp://192.168.1.20/stream1.")
    return SourceURI(kind, _plain(host), text)


def _device(kind: Kind, text: str) -> SourceURI:
    parts = urlsplit(text)
    location = (parts.netloc + parts.path).rstrip("/")
    if kind is Kind.CSI and not re.fullmatch("[0-9]{1,3}", location):
        raise UsageError(f"{text!r} names no sensor", hint="For example csi://0.")
    if kind is Kind.V4L2 and not location.startswith("/dev/"):
        raise UsageError(f"{text!r} names no device", hint="For example v4l2:///dev/video0 (three slashes).")
    name = f"csi{location}" if kind is Kind.CSI else _plain(Path(location).name)
    return SourceURI(kind, name, location, _options(kind, parts.query, text))


def _demo(text: str) -> SourceURI:
    split, _, query = text.removeprefix("demo:").partition("?")
    if split not in ("", "test", "train"):
        raise UsageError(f"{text!r} is not known", hint="Use demo:test or demo:train; demo: is demo:test.")
    return SourceURI(Kind.DEMO, "demo", split or "test", _options(Kind.DEMO, query, text))


def _path(text: str) -> SourceURI:
    path = Path(text)
    if not text or not _exists(text):
        hint = "Check the path; a camera is rtsp://…, http://…, v4l2:///dev/video0 or csi://0."
        raise InputError("this source does not exist", where=repr(text), hint=hint)
    if path.is_dir() or path.suffix.lower() == ".txt" or is_picture(path.name):
        return SourceURI(Kind.PICTURES, _plain(path.resolve().stem), text)
    if not path.is_file():
        raise UsageError(f"{text!r} is not a regular file", hint=f"A camera device is v4l2://{path.resolve()}.")
    return SourceURI(Kind.VIDEO, _plain(path.stem), text)


def _options(kind: Kind, query: str, text: str) -> dict[str, float]:
    known = _OPTIONS[kind]
    options: dict[str, float] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise UsageError(f"{text!r}: {key!r} is not known", hint=f"{kind} sources take {', '.join(known)}.")
        low, high, whole = known[key]
        if not re.fullmatch(r"[0-9]{1,9}" if whole else r"[0-9]{1,9}(\.[0-9]{1,6})?", value):
            raise UsageError(f"{text!r}: {key}={value} is not a {'whole ' if whole else ''}number")
        options[key] = float(value)
        if not low <= options[key] <= high:
            raise UsageError(f"{text!r}: {key} is {low:g} to {high:g}, not {value}")
    return options


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a name, or a zero byte in it
        return False


def _plain(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).strip("-.") or "source"


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
