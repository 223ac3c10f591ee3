"""Real RTSP on loopback: answers match frame by frame; cut off, damaged and silent cameras are survived and counted."""

from __future__ import annotations

import gc
import json
import os
import socket
import threading
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from resnest_edge.camera.base import CameraResult, SourceState
from resnest_edge.camera.capture import CapturePolicy
from resnest_edge.camera.sources import Picture, Source, open_source
from resnest_edge.camera.stream import Stream, StreamOptions
from resnest_edge.camera.uri import parse_source
from resnest_edge.demo.scenes import draw_scene
from resnest_edge.pipeline.engine import load
from tests.camera.fakes import Best, FullDisk, Kept, balanced, engine, run
from tests.camera.rtsp import broken, elementary, movie, serving
from tests.support.cli import CommandLine
from tests.support.demo_bundle import demo_bundle
from tests.support.video import stamped, write_video

FRAMES = 40


@pytest.fixture(scope="module")
def fast_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four hundred stamped frames at 200 frames a second."""
    return write_video(tmp_path_factory.mktemp("rtsp") / "fast.mp4", map(stamped, range(400)), fps=200)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty stamped frames at 50 frames a second."""
    return write_video(tmp_path_factory.mktemp("rtsp") / "clip.mp4", map(stamped, range(FRAMES)), fps=50)


def camera(name: str, url: str, timeout: float = 5.0) -> Source:
    return open_source(parse_source(f"{name}={url}"), timeout=timeout)


def roomy(**policy: float | None) -> StreamOptions:
    return StreamOptions(queue=1000, capture=CapturePolicy(**{"backoff": 0.01, "most": 0.02, **policy}))  # type: ignore[arg-type]


def test_answers_match_frame_by_frame(clip: Path) -> None:
    kept = Kept()
    with serving(a=movie(clip), b=movie(clip)) as server:
        sources = [camera(name, server.url(name)) for name in "ab"]
        summary = run(Stream(engine((1, 2)), sources, Best(), [kept], roomy(frames=FRAMES)))
    for name in "ab":
        assert kept.answered(name) == kept.ids(name) == list(range(FRAMES))
        counts = summary.sources[name]
        assert (counts.captured, counts.inferred, counts.dropped) == (FRAMES, FRAMES, 0)


def test_a_change_of_resolution_in_mid_stream(tmp_path: Path) -> None:
    small = write_video(tmp_path / "a.h264", (stamped(number, 64, 64) for number in range(20)), fps=50)
    large = write_video(tmp_path / "b.h264", (stamped(20 + number, 96, 96) for number in range(20)), fps=50)
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    kept = Kept()
    with serving(cam=elementary(both)) as server:
        run(Stream(engine(), [camera("cam", server.url("cam"))], Best(), [kept], roomy(frames=40)))
    assert kept.answered("cam") == list(range(40))
    assert [result.frame.image.shape[0] for result in kept.results] == [64] * 20 + [96] * 20


def test_a_damaged_stream_is_counted_and_ends(clip: Path) -> None:
    kept = Kept()
    with serving(cam=broken(clip, 0.03)) as server:
        source = camera("cam", server.url("cam"))
        summary = run(Stream(engine(), [source], Best(), [kept, FullDisk(5)], roomy(retries=0, stall=3.0)))
    counts = summary.sources["cam"]
    assert counts.corrupt > 0 and counts.captured > 0 and balanced(summary)
    assert kept.answered("cam")[:5] == list(range(5)), "what came before the damage is right"
    assert counts.state is SourceState.FAILED and summary.sinks[1].failed == counts.inferred - 5


def test_a_camera_that_never_answers_beside_one_that_does(clip: Path) -> None:
    kept = Kept(react=lambda result: stream.stop() if result.frame.frame_id == FRAMES - 1 else None)
    with serving(cam=movie(clip)) as server, closing(socket.create_server(("127.0.0.1", 0))) as silent:
        dead = camera("dead", f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x", timeout=0.3)
        stream = Stream(engine(), [camera("cam", server.url("cam")), dead], Best(), [kept], roomy())
        summary = run(stream)
    assert kept.answered("cam")[:FRAMES] == list(range(FRAMES))
    assert summary.sources["dead"].captured == 0 and summary.sources["dead"].reconnects >= 1 and balanced(summary)
    assert summary.sources["dead"].state is SourceState.ENDED


def disconnect(clip: Path, times: int) -> None:
    """Cut the camera off ``times`` times, each time after two answers since it came back."""
    since, cut, rss = [0], [0], [0.0]
    process = psutil.Process()

    def count(result: CameraResult) -> None:
        if result.answers[0].index == 0:
            since[0] = 0
        since[0] += 1
        if since[0] == 2:
            if cut[0] == times:
                stream.stop()
            elif server.kick():
                cut[0] += 1
                if cut[0] == min(20, times):
                    rss[0] = process.memory_info().rss

    kept = Kept(react=count, light=True)
    gc.collect()
    before = (threading.active_count(), process.num_fds())
    with serving(cam=movie(clip)) as server:
        stream = Stream(engine(), [camera("cam", server.url("cam"), timeout=2.0)], Best(), [kept], roomy(stall=2.0))
        summary = run(stream, limit=300.0)
    counts = summary.sources["cam"]
    assert cut[0] == times and counts.reconnects >= times and balanced(summary) and counts.failed == 0
    assert kept.ids("cam") == list(range(counts.captured)), "every frame of every connection is answered, in order"
    answered = kept.answered("cam")
    starts = [place for place, number in enumerate(answered) if number == 0]
    assert len(starts) >= times + 1 and starts[0] == 0, "each connection begins with the first frame"
    for start, end in zip(starts, [*starts[1:], len(answered)], strict=True):
        assert answered[start:end] == list(range(end - start))
    gc.collect()
    assert (threading.active_count(), process.num_fds()) == before, "no thread and no descriptor is left"
    assert process.memory_info().rss - rss[0] < 16 * 2**20, "and no memory"


def test_forced_disconnects(fast_clip: Path) -> None:
    disconnect(fast_clip, 3)


@pytest.mark.slow
def test_over_a_hundred_forced_disconnects(fast_clip: Path) -> None:
    disconnect(fast_clip, 120)


@pytest.mark.slow
def test_the_demo_model_names_what_an_rtsp_camera_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """From the command line to JSON lines: each answer is the engine's own for that frame, and the digits are right."""
    bundle = demo_bundle(tmp_path)
    hold, scenes = 3, 60
    labels = [index // hold % 10 for index in range(scenes * hold)]
    video = write_video(
        tmp_path / "scenes.mp4", (draw_scene("test", index // hold) for index in range(scenes * hold)), fps=30
    )
    with serving(cam=movie(video)) as server:
        ran = CommandLine(monkeypatch, capfd)(
            *("run", bundle, "--source", f"door={server.url('cam')}", "--sink", f"jsonl:{tmp_path / 'answers.jsonl'}"),
            *("--frames", len(labels), "--queue", len(labels), "--json"),
        )
    assert ran.code == 0, ran.err
    (account,) = json.loads(ran.out)["sources"]
    assert account["captured"] == account["inferred"] == len(labels) and account["dropped"] == 0
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    decoded = [item.image for item in open_source(parse_source(str(video))).frames() if isinstance(item, Picture)]
    with load(bundle) as alone:
        expected = alone(decoded)
    for index, (line, (answer,)) in enumerate(zip(lines, expected.top(), strict=True)):
        assert (line["source"], line["frame_id"]) == ("door", index)
        assert line["answers"][0]["index"] == answer.index
        assert line["answers"][0]["probability"] == pytest.approx(answer.probability, abs=1e-4)
    right = sum(line["answers"][0]["index"] == label for line, label in zip(lines, labels, strict=True))
    assert right >= 0.9 * len(labels)
    assert os.path.getsize(tmp_path / "answers.jsonl") > 0
