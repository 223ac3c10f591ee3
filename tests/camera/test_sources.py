"""Every kind of source on its own: pictures in order and upright, and what is said when there are none."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from time import perf_counter

import av
import numpy as np
import pytest
from PIL import Image

from resnest_edge.camera import source_video
from resnest_edge.camera.source_pictures import SCENES, DemoSource
from resnest_edge.camera.sources import Damage, Picture, Source, open_source
from resnest_edge.camera.uri import parse_source
from resnest_edge.demo.scenes import draw_scene
from resnest_edge.errors import ImageError, InputError, UnavailableError
from tests.support.scenes import write_scenes
from tests.support.video import read_stamp, stamped, write_video


def opened(text: object, timeout: float = 5.0) -> Source:
    return open_source(parse_source(str(text)), timeout=timeout)


def pictures(source: Source) -> list[Picture]:
    return [item for item in source.frames() if isinstance(item, Picture)]


def stamps(source: Source) -> list[int]:
    return [read_stamp(picture.image) for picture in pictures(source)]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.mkv", "ffv1")])
def test_a_video_file_gives_every_frame_in_order(name: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, (stamped(index) for index in range(40)), codec=codec)
    source = opened(path)
    assert not source.live and not source.endless
    assert stamps(source) == list(range(40))
    assert stamps(source) == list(range(40)), "a second iteration opens it again"


def test_pixels_are_those_of_the_decoder(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", [draw_scene("test", index) for index in range(3)], codec="ffv1")
    with av.open(str(path)) as container:
        expected = [frame.to_image() for frame in container.decode(video=0)]  # PyAV's own way to RGB
    for picture, image in zip(pictures(opened(path)), expected, strict=True):
        assert picture.image.dtype == np.uint8
        np.testing.assert_array_equal(picture.image, np.asarray(image))


@pytest.mark.parametrize(("turns", "matrix"), [(1, (0, 1, -1, 0)), (2, (-1, 0, 0, -1)), (3, (0, -1, 1, 0))])
def test_a_turned_telephone_video_stands_upright(turns: int, matrix: tuple[int, ...], tmp_path: Path) -> None:
    """The track header's matrix (ISO 14496-12, 8.3.2) says by how many quarters clockwise a player turns."""
    path = write_video(tmp_path / "a.mp4", [stamped(0xF0C1, 64, 32)], codec="libx264")
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # version 0: flags, times, ids, duration, layer, volume
    for slot, value in zip((0, 1, 3, 4), matrix, strict=True):
        data[place + 4 * slot : place + 4 * slot + 4] = (value * 0x10000).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    (picture,) = pictures(opened(path))
    assert read_stamp(np.rot90(picture.image, turns)) == 0xF0C1
    assert picture.image.shape == ((32, 64, 3) if turns == 2 else (64, 32, 3))


def test_a_change_of_resolution_in_mid_stream(tmp_path: Path) -> None:
    small = write_video(tmp_path / "a.h264", (stamped(index, 64, 64) for index in range(10)))
    large = write_video(tmp_path / "b.h264", (stamped(10 + index, 128, 96) for index in range(10)))
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    found = pictures(opened(both))
    assert [read_stamp(picture.image) for picture in found] == list(range(20))
    assert {picture.image.shape for picture in found} == {(64, 64, 3), (96, 128, 3)}


def test_a_damaged_video_says_so_and_goes_on(tmp_path: Path) -> None:
    """The container's index stays whole, so that every packet reaches the decoder, the ones of noise as well."""
    path = write_video(tmp_path / "a.mp4", (stamped(index) for index in range(100)), gop=1)
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 3, len(data) // 2)
    data[middle] = bytes(np.random.default_rng(0).integers(0, 256, middle.stop - middle.start, dtype=np.uint8))
    path.write_bytes(data)
    items = list(opened(path).frames())
    assert len(items) == 100, "each packet is a picture or damage"
    assert 15 <= sum(isinstance(item, Damage) for item in items) <= 40
    numbers = [read_stamp(item.image) for item in items if isinstance(item, Picture)]
    assert numbers[:20] == list(range(20)) and numbers[-20:] == list(range(80, 100))


def test_what_is_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"not a video" * 100)
    (tmp_path / "b.mp4").touch()
    for name in ("a.mp4", "b.mp4"):
        with pytest.raises(InputError, match=name):
            pictures(opened(tmp_path / name))
    with av.open(str(tmp_path / "c.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(InputError, match="no video"):
        pictures(opened(tmp_path / "c.wav"))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnavailableError, match="camera"):
        opened(tmp_path / "a.mp4")


def test_a_device_that_is_not_here() -> None:
    with pytest.raises(UnavailableError, match="plugged"):
        opened("v4l2:///dev/video-none")


def test_v4l2_options() -> None:
    uri = parse_source("v4l2:///dev/null?width=640&height=480&fps=30")
    source = source_video.video_source(uri, timeout=1.0)
    assert source._form == "video4linux2" and source.live and source.endless
    assert source._options == {"video_size": "640x480", "framerate": "30"}
    with pytest.raises(UnavailableError, match="/dev/null"):
        pictures(source)


def test_image_folders_are_read_as_evaluate_reads_them(tmp_path: Path) -> None:
    folder = write_scenes(tmp_path / "p", "test", 20)
    source = opened(folder)
    found = pictures(source)
    assert [picture.name for picture in found] == sorted(picture.name for picture in found) and len(found) == 20
    np.testing.assert_array_equal(found[1].image, draw_scene("test", 10))  # 0/0010.png
    (single,) = pictures(opened(folder / "0" / "0010.png"))
    assert single.name == "0010.png"
    np.testing.assert_array_equal(single.image, found[1].image)
    (folder / "5" / "0005.png").write_bytes(b"damaged")
    with pytest.raises(ImageError, match=r"0005\.png"):
        pictures(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="empty"):
        opened(tmp_path / "empty")


def test_demo_scenes_have_known_labels() -> None:
    source = opened("demo:test?fps=0&hold=2&frames=6")
    assert not source.live
    for index, picture in enumerate(pictures(source)):
        np.testing.assert_array_equal(picture.image, draw_scene("test", index // 2))
    assert pictures(source) == [], "opened again it goes on where it was"
    assert SCENES % 10 == 0, "going round does not shift the labels"


def test_a_demo_camera_keeps_its_time() -> None:
    source = DemoSource("demo", "test", fps=100.0, frames=20)
    start = perf_counter()
    assert source.live and len(pictures(source)) == 20
    assert 0.19 <= perf_counter() - start < 2.0


def test_a_demo_camera_is_interrupted_while_it_waits() -> None:
    source = DemoSource("demo", "test", fps=0.01)
    timer = threading.Timer(0.1, source.interrupt)
    timer.start()
    assert len(pictures(source)) == 1
    timer.join()


# ── Network ────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Camera(BaseHTTPRequestHandler):
    """A camera's HTTP server: an MJPEG stream that ends after 20 pictures, a video file, a locked door."""

    file: bytes = b""

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if self.path == "/locked":
            self.send_error(401)
        elif self.path == "/file.mp4":
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.file)))
            self.end_headers()
            self.wfile.write(self.file)
        else:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            for number in range(20):
                data = BytesIO()
                Image.fromarray(stamped(number)).save(data, "JPEG", quality=90)
                head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {data.tell()}\r\n\r\n"
                self.wfile.write(head.encode() + data.getvalue() + b"\r\n")


def test_http_cameras_and_files(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", (stamped(index) for index in range(12)))
    with serving(type("Served", (Camera,), {"file": path.read_bytes()})) as address:
        camera = opened(f"http://{address}/mjpeg")
        found: list[int] = []
        with pytest.raises(UnavailableError, match="lost"):  # it broke off where the next picture was due
            found.extend(read_stamp(item.image) for item in camera.frames() if isinstance(item, Picture))
        assert found == list(range(20))
        assert camera.live and camera.endless
        file = opened(f"http://{address}/file.mp4")
        assert stamps(file) == list(range(12))
        assert not file.live and not file.endless, "it has a duration, so it is a file"
        with pytest.raises(InputError, match="refused") as raised:
            pictures(opened(f"http://user:secret@{address}/locked"))
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_camera_that_never_answers_is_given_up_in_time(scheme: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        source = opened(f"{scheme}://user:secret@127.0.0.1:{server.getsockname()[1]}/x", timeout=0.3)
        start = perf_counter()
        with pytest.raises(UnavailableError, match="no answer") as raised:
            pictures(source)
        assert perf_counter() - start < 3.0
        assert "secret" not in str(raised.value)


def test_a_camera_that_is_not_there() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    with pytest.raises(UnavailableError, match="lost"):
        pictures(opened(f"rtsp://127.0.0.1:{port}/x"))
