"""Raw pictures from another program's pipe, and the Jetson's camera behind one."""

from __future__ import annotations

import shutil
import sys
import threading
from itertools import islice

import numpy as np
import pytest

from resnest_edge.camera import source_pipe
from resnest_edge.camera.source_pipe import PipeSource, csi_pipeline, csi_source
from resnest_edge.camera.sources import Picture, Source, open_source
from resnest_edge.camera.uri import parse_source
from resnest_edge.errors import UnavailableError, UsageError


def opened(text: object, timeout: float = 5.0) -> Source:
    return open_source(parse_source(str(text)), timeout=timeout)


def pictures(source: Source) -> list[Picture]:
    return [item for item in source.frames() if isinstance(item, Picture)]


def writer(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", f"import os, sys, time\nfd = int(sys.argv[1])\n{code}"]


def test_a_pipe_gives_raw_pictures_and_says_why_it_ended() -> None:
    write = "for n in range(5): os.write(fd, bytes([n]) * 8 * 4 * 3)"
    code = f"print('noise', flush=True)\n{write}\nsys.stderr.write('ERROR: gone')"
    source = PipeSource("pipe", lambda fd: [*writer(code), str(fd)], 8, 4)
    frames = source.frames()
    for expected in range(5):
        item = next(frames)
        assert isinstance(item, Picture) and item.image.shape == (4, 8, 3)
        assert (item.image == expected).all()
    with pytest.raises(UnavailableError, match="ERROR: gone"):
        next(frames)


def test_a_silent_pipe_times_out_and_a_blocked_one_is_interrupted() -> None:
    silent = [*writer("time.sleep(60)")]
    with pytest.raises(UnavailableError, match=r"within 0\.2 s"):
        pictures(PipeSource("pipe", lambda fd: [*silent, str(fd)], 8, 4, timeout=0.2))
    source = PipeSource("pipe", lambda fd: [*silent, str(fd)], 8, 4, timeout=30.0)
    timer = threading.Timer(0.5, source.interrupt)
    timer.start()
    with pytest.raises(UnavailableError, match="ended"):
        pictures(source)
    timer.join()
    assert source._process is not None and source._process.returncode is not None


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(UnavailableError, match="no-such-program"):
        pictures(PipeSource("pipe", lambda fd: ["no-such-program", str(fd)], 8, 4))


def test_the_pipeline_of_a_jetson_camera() -> None:
    words = " ".join(csi_pipeline(1, 1280, 720, 29.97, 2, 7))
    assert words == (
        "gst-launch-1.0 -q nvarguscamerasrc sensor-id=1 ! "
        "video/x-raw(memory:NVMM),width=1280,height=720,framerate=29970/1000,format=NV12 ! nvvidconv flip-method=2 ! "
        "video/x-raw,width=1280,height=720,format=BGRx ! videoconvert ! video/x-raw,format=RGB ! fdsink fd=7 sync=false"
    )


def test_a_jetson_camera_elsewhere() -> None:
    if source_pipe._has_element("nvarguscamerasrc"):
        pytest.skip("this is a Jetson")
    with pytest.raises(UnavailableError, match="JetPack"):
        opened("csi://0")


def test_widths_that_gstreamer_would_pad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_pipe, "_has_element", lambda name: True)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(UsageError, match="1282"):
        csi_source(parse_source("csi://0?width=1282"), timeout=1.0)
    assert csi_source(parse_source("csi://0"), timeout=1.0).live


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="needs GStreamer's gst-launch-1.0")
def test_pictures_through_gstreamer() -> None:
    def command(fd: int) -> list[str]:
        pipeline = csi_pipeline(0, 64, 48, 30, 0, fd)
        converted = pipeline[pipeline.index("videoconvert") :]  # the Jetson's own elements stand before it
        pattern = ["videotestsrc", "pattern=red", "num-buffers=3", "!", "video/x-raw,width=64,height=48", "!"]
        return [*pipeline[:2], *pattern, *converted]

    frames = PipeSource("pipe", command, 64, 48).frames()
    found = [item.image for item in islice(frames, 3) if isinstance(item, Picture)]
    assert len(found) == 3
    with pytest.raises(UnavailableError, match="ended"):
        next(frames)
    assert all(np.abs(image.astype(int) - (255, 0, 0)).max() <= 4 for image in found)  # a round trip through YUV
