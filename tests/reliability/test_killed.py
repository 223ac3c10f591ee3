"""``kill -9`` at every step and stage, and two builds at once: what loads is whole, and the next run succeeds."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from resnest_edge.bundle import open_bundle
from resnest_edge.files import new_folder, write_atomically

ROOT = Path(__file__).resolve().parents[2]


def forks(what: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-W", "error", "-m", "tests.reliability.forks", what, str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("what", ["killed", "replaced"])
def test_a_writer_killed_at_any_step_leaves_no_damaged_bundle_and_the_next_succeeds(tmp_path: Path, what: str) -> None:
    found = forks(what, tmp_path)
    assert found["wrong"] == []
    assert found["steps"] > 15


def test_of_two_builds_into_one_output_one_wins(tmp_path: Path) -> None:
    found = forks("race", tmp_path)
    assert found["wrong"] == []
    assert found["codes"] == [[0, 2]] * 40


def test_two_builds_that_may_replace_each_other_leave_one_whole(tmp_path: Path) -> None:
    found = forks("forced", tmp_path)
    assert found["wrong"] == []
    assert found["codes"] == [[0, 0]] * 40


def test_a_cache_s_writer_killed_at_any_step_never_gives_a_wrong_value(tmp_path: Path) -> None:
    found = forks("cache", tmp_path / "stages")
    assert found["wrong"] == []
    assert found["steps"] > 20


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    left, others = [".cam.partial-1", ".cam.partial-2"], [".cam.old-1", ".cam.settings", ".camera.partial-1"]
    for name in (*left, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").touch()
    with new_folder(tmp_path / "cam", force=False) as mine:
        assert names(tmp_path) == sorted([*others, mine.name])
        with new_folder(tmp_path / "cam", force=False) as other:  # what a living writer holds is not swept
            assert names(tmp_path) == sorted([*others, mine.name, other.name])
        shutil.rmtree(tmp_path / "cam")
    assert names(tmp_path) == sorted([*others, "cam"])
    (tmp_path / ".list.txt.partial-1").touch()
    write_atomically(tmp_path / "list.txt", b"whole")
    assert names(tmp_path) == sorted([*others, "cam", "list.txt"])


BUILD = """
import os, signal, sys
from pathlib import Path
from resnest_edge.pipeline.build import build
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.spec import Precision, Target

last, out, what, images = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] or None, sys.argv[4] or None
moments, stages, place = 0, [], str(out.parent)

def pass_moment():
    global moments
    moments += 1
    if moments == last:
        os.kill(os.getpid(), signal.SIGKILL)

def tell(stage, done, total):
    if stage not in stages:
        stages.append(stage)
        pass_moment()

def hook(event, args):
    if event in ("open", "os.chmod", "os.mkdir", "os.remove", "os.rename", "os.rmdir") and place in str(args[0]):
        pass_moment()

sys.addaudithook(hook)
precisions = (Precision.FP32,) if what else (Precision.FP32, Precision.INT8)
build(BuildRequest(what=what, images=images, calib_images=10, precisions=precisions, targets=(Target.OPENVINO,),
                   out=out, force=True), tell)
print(moments, len(stages))
"""


def build_until(moment: int, out: Path, what: str = "", images: str = "") -> list[int]:
    """Build in a process that kills itself at a moment: a stage begins, or it does something in the output's folder.

    Moment 0 never comes: how many there were is returned, and how many of them were stages.
    """
    command = [sys.executable, "-c", BUILD, str(moment), str(out), what, images]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == (-signal.SIGKILL if moment else 0), ran.stderr
    return [int(word) for word in ran.stdout.split()]


def spread(count: int, most: int) -> list[int]:
    """Up to ``most`` of the numbers from 1 to ``count``, the last one with them."""
    return sorted({count - count * step // most for step in range(most)})


@pytest.mark.parametrize("most", [4, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_device_build_killed_at_any_moment(tmp_path: Path, exported: Path, most: int) -> None:
    out = tmp_path / "place" / "cam"
    (moments, _) = build_until(0, out, str(exported))
    assert moments > 10
    for moment in spread(moments, most):
        build_until(moment, out, str(exported))
        open_bundle(out)  # the one from before or the new one
    build_until(0, out, str(exported))
    assert names(out.parent) == ["cam"]


@pytest.mark.slow
def test_a_build_from_weights_killed_at_any_moment(tmp_path: Path, pictures: Path) -> None:
    moments, stages = build_until(0, tmp_path / "reference" / "cam", images=str(pictures))
    assert stages >= 5
    for moment in spread(moments, 16):
        out = tmp_path / f"killed {moment}" / "cam"
        build_until(moment, out, images=str(pictures))
        for path in out.glob("[!.]*"):
            open_bundle(path)  # what is not whole has a hidden name
        build_until(0, out, images=str(pictures))
        assert names(out.parent) == ["cam"] and names(out) == ["fp32", "int8"]
        assert [open_bundle(out / name).manifest.info.precision.value for name in names(out)] == ["fp32", "int8"]


@pytest.mark.slow
def test_a_build_killed_after_any_time(tmp_path: Path, pictures: Path) -> None:
    out = tmp_path / "place" / "cam"
    command = [sys.executable, "-m", "resnest_edge", "build", "--precision", "int8", "--images", str(pictures)]
    command += ["--target", "openvino", "--calib-images", "10", "--out", str(out), "--force"]
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    took, killed = time.perf_counter() - started, 0
    for share in range(1, 13):
        started = time.perf_counter()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        try:
            assert child.wait(took * share / 13) == 0
            took = min(took, time.perf_counter() - started)  # the machine is less busy than it was
        except subprocess.TimeoutExpired:
            child.kill()
            killed += child.wait() == -signal.SIGKILL
        open_bundle(out)  # with --force, the old one or the new one stands there at every moment
    assert killed >= 3
    subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    assert names(out.parent) == ["cam"]
