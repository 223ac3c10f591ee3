"""Places that cannot be written to: full, read-only, taken, below a file. Nothing is lost, nothing half-written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from resnest_edge.pipeline.runtimes import open_session
from resnest_edge.spec import Target
from tests.support.cli import CommandLine
from tests.support.limits import confined, small_disk
from tests.support.tree import snapshot

TARGETS = (Target.OPENVINO, Target.ONNXRUNTIME)


def one_error(err: str) -> bool:
    return err.count("error: ") == 1 and "Traceback" not in err and "bug" not in err


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_full_disk(cli: CommandLine, exported: Path, tmp_path: Path, target: Target) -> None:
    """From no room at all to enough: exit 2 and nothing left, or a bundle that answers as the one on a large disk."""
    whole = tmp_path / "whole"
    assert cli("build", exported, "--target", target, "--out", whole).code == 0
    size = sum(path.stat().st_size for path in whole.iterdir()) // 1024
    frames = np.random.default_rng(0).integers(0, 255, (1, 96, 96, 3), dtype=np.uint8)
    with open_session(whole) as session:
        expected = session.run(frames).logits
    codes = []
    for share in (0.1, 0.4, 0.55, 0.8, 0.95, 1.0, 2.5):
        with small_disk(tmp_path / "disk", max(int(size * share), 4)) as disk:
            ran = cli("build", exported, "--target", target, "--out", disk / "cam")
            codes.append(ran.code)
            if ran.code == 0:
                with open_session(disk / "cam") as session:
                    np.testing.assert_array_equal(session.run(frames).logits, expected)
            else:
                assert ran.code == 2 and one_error(ran.err) and list(disk.iterdir()) == [], ran.err
    assert codes[0] == 2 and codes[-1] == 0


def test_a_full_disk_loses_nothing_that_force_would_replace(cli: CommandLine, exported: Path, tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in exported.iterdir()) // 1024
    with small_disk(tmp_path / "disk", int(size * 1.4)) as disk:
        shutil.copytree(exported, disk / "cam")
        before = snapshot(disk)
        ran = cli("build", exported, "--target", "openvino", "--out", disk / "cam", "--force")
        assert ran.code == 2 and one_error(ran.err)
        assert snapshot(disk) == before


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("limit", [1, 10_000, 100_000])
def test_a_file_that_may_not_grow(exported: Path, tmp_path: Path, target: Target, limit: int) -> None:
    ran = confined("build", exported, "--target", target, "--out", tmp_path / "place" / "cam", file_limit=limit)
    assert ran.returncode == 2 and one_error(ran.stderr), ran.stderr
    assert list((tmp_path / "place").iterdir()) == []


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
def test_a_read_only_folder(exported: Path, tmp_path: Path, force: tuple[str, ...]) -> None:
    place = tmp_path / "read only"
    shutil.copytree(exported, place / "cam")
    place.chmod(0o555)
    before = snapshot(tmp_path)
    try:
        out = place / "cam" if force else place / "new"
        ran = confined("build", exported, "--target", "openvino", "--out", out, *force)
        assert ran.returncode == 2 and one_error(ran.stderr) and "Permission denied" in ran.stderr, ran.stderr
        assert snapshot(tmp_path) == before
    finally:
        place.chmod(0o755)


def test_a_file_that_may_not_be_read(exported: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "cam"
    shutil.copytree(exported, bundle)
    for name in ("manifest.json", "model.onnx"):
        (bundle / name).chmod(0)
        ran = confined("verify", bundle)
        assert ran.returncode == 4 and one_error(ran.stderr) and "Permission denied" in ran.stderr, ran.stderr
        (bundle / name).chmod(0o644)


@pytest.mark.parametrize("kind", ["a file", "a folder", "below a file", "a long name", "a dangling link"])
def test_a_place_that_is_taken_or_cannot_be(cli: CommandLine, exported: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind in ("a file", "below a file"):
        out.write_text("mine")
    elif kind == "a folder":
        out.mkdir()
    elif kind == "a dangling link":
        out.symlink_to("nowhere")
    target = {"below a file": out / "cam", "a long name": tmp_path / ("x" * 300)}.get(kind, out)
    before = snapshot(tmp_path)
    for verb in (("build", exported, "--target", "openvino"), ("package", exported, "--for", "onnx")):
        ran = cli(*verb, "--out", target)
        assert ran.code == 2 and one_error(ran.err), ran.err
        assert snapshot(tmp_path) == before


def test_unicode_and_spaces_in_every_path(cli: CommandLine, exported: Path, tmp_path: Path) -> None:
    place = tmp_path / "ein Ördner – 测试 \u2028 'x'"
    for target in TARGETS:
        out = place / f"bündle of {target}"
        assert cli("build", exported, "--target", target, "--out", out).code == 0
        for verb in (("verify", out), ("inspect", out), ("package", out, "--for", "onnx", "--out", f"{out} packed")):
            assert cli(*verb).code == 0
