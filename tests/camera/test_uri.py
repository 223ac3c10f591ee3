"""One scheme for every source: what is read, what is refused, and that a password is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.camera.uri import Kind, parse_source, parse_sources, without_password
from resnest_edge.errors import InputError, UsageError


@pytest.mark.parametrize(
    ("text", "kind", "name", "location", "options"),
    [
        ("rtsp://cam/stream?profile=1", Kind.RTSP, "cam", "rtsp://cam/stream?profile=1", {}),
        ("rtsps://u:p@10.0.0.5:322/a", Kind.RTSP, "10.0.0.5", "rtsps://u:p@10.0.0.5:322/a", {}),
        ("rtsp://[fe80::1]/a", Kind.RTSP, "fe80-1", "rtsp://[fe80::1]/a", {}),
        ("HTTP://cam/mjpeg", Kind.HTTP, "cam", "HTTP://cam/mjpeg", {}),
        ("v4l2:///dev/video0", Kind.V4L2, "video0", "/dev/video0", {}),
        ("v4l2:///dev/video0?width=640&fps=29.97", Kind.V4L2, "video0", "/dev/video0", {"width": 640, "fps": 29.97}),
        ("csi://0", Kind.CSI, "csi0", "0", {}),
        ("csi://1?flip=2&height=480", Kind.CSI, "csi1", "1", {"flip": 2, "height": 480}),
        ("demo:", Kind.DEMO, "demo", "test", {}),
        ("demo:train?fps=0&frames=3&hold=1", Kind.DEMO, "demo", "train", {"fps": 0, "frames": 3, "hold": 1}),
        ("door=rtsp://cam/stream", Kind.RTSP, "door", "rtsp://cam/stream", {}),
    ],
)
def test_uris(text: str, kind: Kind, name: str, location: str, options: dict[str, float]) -> None:
    source = parse_source(text)
    assert (source.kind, source.name, source.location, dict(source.options)) == (kind, name, location, options)


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("film é 1.mp4", "a=b.mkv", "photo.JPG", "list.txt", "demo"):
        Path(name).touch()
    Path("folder").mkdir()
    assert parse_source("film é 1.mp4").kind is Kind.VIDEO and parse_source("film é 1.mp4").name == "film-1"
    assert parse_source("a=b.mkv").location == "a=b.mkv", "a file that exists is not a name and a URI"
    assert parse_source("x=a=b.mkv").name == "x"
    assert parse_source("demo").kind is Kind.VIDEO
    assert {parse_source(name).kind for name in ("photo.JPG", "list.txt", "folder", ".")} == {Kind.PICTURES}
    assert parse_source(".").name == tmp_path.name
    spaced = parse_source(f"file://{tmp_path}/film%20%C3%A9%201.mp4")
    assert spaced.kind is Kind.VIDEO and Path(spaced.location).is_file()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://u:secret@cam/x", "ftp"),
        ("rtsp://", "host"),
        ("rtsp://cam:99999/x", "Port"),
        ("v4l2://dev/video0", "three slashes"),
        ("v4l2:///dev/video0?size=3", "width, height, fps"),
        ("v4l2:///dev/video0?width=wide", "whole number"),
        ("csi://front", "csi://0"),
        ("csi://0?flip=9", "0 to 7"),
        ("csi://0?flip=nan", "number"),
        ("demo:validation", "demo:train"),
        ("demo:?frames=0", "frames"),
        ("demo:?hold=1.5", "whole"),
        ("/dev/null", "v4l2:///dev/null"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_source(text)
    assert words in str(raised.value) and "secret" not in str(raised.value)


@pytest.mark.parametrize("text", ["missing.mp4", "", "x=missing.mp4", "a\0b", "x" * 5000])
def test_what_does_not_exist(text: str) -> None:
    with pytest.raises(InputError):
        parse_source(text)


def test_names_are_unique() -> None:
    sources = parse_sources(["demo:", "demo:", "demo=demo:train", "rtsp://cam/1", "rtsp://cam/2"])
    assert [source.name for source in sources] == ["demo-2", "demo-3", "demo", "cam", "cam-2"]
    with pytest.raises(UsageError, match="'a'"):
        parse_sources(["a=demo:", "a=demo:"])
    with pytest.raises(UsageError, match="--source"):
        parse_sources([])


def test_a_password_is_never_shown() -> None:
    source = parse_source("rtsp://admin:p@ss:word@cam/stream")
    assert source.shown == "rtsp://admin:***@cam/stream"
    assert "word" not in repr(source)
    assert without_password("rtsp://cam/a:b@c") == "rtsp://cam/a:b@c"


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="/"), min_size=1).map(lambda p: p.strip()))
def test_no_password_survives(password: str) -> None:
    shown = without_password(f"rtsp://user:{password}@cam/stream")
    assert shown == "rtsp://user:***@cam/stream"


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        source = parse_source(text)
    except (InputError, UsageError):
        return
    assert source.name and source.location
