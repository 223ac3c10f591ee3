"""Annotated video: decoded again, every frame is there, in order, at its time, with its own label drawn on it."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from resnest_edge.camera.base import CameraResult
from resnest_edge.camera.sinks.record import to_lines
from resnest_edge.camera.sinks.video import AnnotatedVideo
from resnest_edge.errors import OutputError
from resnest_edge.images.draw import with_lines
from tests.support.results import plain, result
from tests.support.video import Image, read_stamp

LABELS = ("cat", "dog", "grey whale")


def frames_of(path: Path) -> list[tuple[float, Image]]:
    """Seconds and picture of every frame."""
    with av.open(str(path)) as container:
        return [
            (float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24").astype(np.uint8))
            for frame in container.decode(video=0)
            if frame.pts is not None and frame.time_base is not None
        ]


def written(path: Path, results: list[CameraResult], fps: float | None = None) -> None:
    sink = AnnotatedVideo(path, fps)
    for item in results:
        sink.write(item)
    sink.close()
    sink.close()


def test_every_frame_is_there_at_its_time_with_its_label(tmp_path: Path) -> None:
    results = [plain(index, 60 + index, LABELS[index % 3]) for index in range(31)]
    written(tmp_path / "out.mp4", results)
    assert os.listdir(tmp_path) == ["out.mp4"]
    decoded = frames_of(tmp_path / "out.mp4")
    assert len(decoded) == 31
    assert [seconds for seconds, _ in decoded] == pytest.approx([index / 25 for index in range(31)], abs=1e-4)
    for item, (_, picture) in zip(results, decoded, strict=True):
        drawn = {
            label: with_lines(item.frame.image, to_lines(plain(item.frame.frame_id, 0, label))) for label in LABELS
        }
        error = {label: float(np.square(picture.astype(float) - drawn[label]).mean()) for label in LABELS}
        assert min(error, key=lambda label: error[label]) == item.answers[0].label, error
        bare = float(np.square(picture.astype(float) - item.frame.image).mean())
        assert error[item.answers[0].label] < bare / 10


def test_constant_pace(tmp_path: Path) -> None:
    written(tmp_path / "out.mp4", [result(index, captured=7.0) for index in range(12)], fps=10)
    times = [seconds for seconds, _ in frames_of(tmp_path / "out.mp4")]
    assert times == pytest.approx([index / 10 for index in range(12)], abs=1e-4)


def test_frames_captured_at_once_stay_apart(tmp_path: Path) -> None:
    written(tmp_path / "out.mp4", [result(index, captured=7.0) for index in range(12)])
    times = [seconds for seconds, _ in frames_of(tmp_path / "out.mp4")]
    assert times == sorted(set(times)) and len(times) == 12


def test_several_sources_have_a_file_each(tmp_path: Path) -> None:
    results = [
        result(index, source=source, width=width, height=96)
        for index in range(10)
        for source, width in (("door", 128), ("yard", 160))
    ]
    written(tmp_path / "out.mp4", results, fps=25)
    assert sorted(os.listdir(tmp_path)) == ["out-door.mp4", "out-yard.mp4"]
    for source, width in (("door", 128), ("yard", 160)):
        decoded = frames_of(tmp_path / f"out-{source}.mp4")
        assert len(decoded) == 10 and decoded[0][1].shape == (96, width, 3)


def test_odd_and_changing_sizes_are_fitted_into_the_first(tmp_path: Path) -> None:
    sizes = [(321, 241)] * 3 + [(640, 480)] * 3 + [(200, 400)] * 3
    results = [result(5, "", width=width, height=height, captured=float(i)) for i, (width, height) in enumerate(sizes)]
    written(tmp_path / "out.mp4", results)
    pictures = [picture for _, picture in frames_of(tmp_path / "out.mp4")]
    assert {picture.shape for picture in pictures} == {(240, 320, 3)}
    assert read_stamp(pictures[4]) & 0x0FFF == 5  # the same shape: the whole picture is in it, words on its top row
    assert pictures[8][:, :90].mean() < 20  # a tall picture leaves black at its sides


def test_what_exists_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="already exists"):
        AnnotatedVideo(path)
    assert path.read_bytes() == b"mine"
    (tmp_path / "two-yard.mp4").write_bytes(b"mine")
    sink = AnnotatedVideo(tmp_path / "two.mp4")
    sink.write(result(0))
    with pytest.raises(OutputError, match=r"two-yard\.mp4: already exists"):
        sink.write(result(0, source="yard"))
    sink.close()
    assert (tmp_path / "two-yard.mp4").read_bytes() == b"mine" and len(frames_of(tmp_path / "two.mp4")) == 1
    assert sink.counters() == {"written": 1, "failed": 1}


def test_a_name_taken_meanwhile_costs_no_recording(tmp_path: Path) -> None:
    sink = AnnotatedVideo(tmp_path / "out.mp4")
    sink.write(result(0))
    (tmp_path / "out.mp4").write_bytes(b"mine")
    with pytest.raises(OutputError, match="It stays as") as error:
        sink.close()
    assert (tmp_path / "out.mp4").read_bytes() == b"mine"
    kept = Path(str(error.value.hint).removeprefix("It stays as ").removesuffix("."))
    assert len(frames_of(kept)) == 1


def test_no_frames_leave_no_file(tmp_path: Path) -> None:
    written(tmp_path / "out.mp4", [])
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        AnnotatedVideo(tmp_path / "file" / "out.mp4")


@contextlib.contextmanager
def small_disk() -> Iterator[None]:
    """Files may not grow beyond 100 kB: what a full disk looks like to a program that writes.

    No fixture: pytest writes a test's verdict before it tears fixtures down, and its log may be longer than that.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    random, sink, errors = np.random.default_rng(0), AnnotatedVideo(tmp_path / "out.mp4"), []
    with small_disk():
        for index in range(60):
            item = result(index, width=320, height=240)
            item.frame.image[:] = random.integers(0, 256, item.frame.image.shape)
            try:
                sink.write(item)
            except OutputError as exc:
                errors.append(exc)
        with pytest.raises(OutputError, match="given up"):
            sink.close()
    assert errors and "the disk is full" in str(errors[0]) and "given up" in str(errors[-1])
    assert sink.counters() == {"written": 60 - len(errors), "failed": len(errors)}
    sink.close()
    assert os.listdir(tmp_path) == []
