"""Writing: all of it or none of it, under its final name only when whole, and never over something by accident."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resnest_edge import files
from resnest_edge.errors import OutputError
from resnest_edge.files import new_folder, output_error, refuse_existing, sha256_file, write_atomically

needs_permissions = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere: run as another user"
)


@pytest.fixture
def umask_027() -> Iterator[None]:
    old = os.umask(0o027)
    yield
    os.umask(old)


def full_disk(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, with its text."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(path: Path, *, force: bool, end: Callable[[], object]) -> None:
    """Make a folder of one file, and end its block with a call."""
    with new_folder(path, force=force) as folder:
        (folder / "engine").write_text("new")
        end()


def fail_with(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


def test_write_creates_the_file_and_its_folders(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "file.bin", b"\x00whole")
    assert (tmp_path / "a" / "b" / "file.bin").read_bytes() == b"\x00whole"
    assert names(tmp_path / "a" / "b") == ["file.bin"]


def test_write_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    write_atomically(path, b"new")
    assert content(tmp_path) == {"file": "new"}


@pytest.mark.usefixtures("umask_027")
def test_written_file_has_the_rights_a_plain_write_gives(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, step, full_disk)
    with pytest.raises(OutputError, match=r"disk is full.*Free some space") as caught:
        write_atomically(path, b"new")
    assert caught.value.where == str(path)
    assert content(tmp_path) == {"file": "old"}


def test_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert names(tmp_path) == []


def test_write_over_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomically(tmp_path / "folder", b"new")
    assert names(tmp_path) == ["folder"]


def test_write_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am no folder")
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below", b"new")
    assert content(tmp_path) == {"file": "I am no folder"}


def test_new_folder_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "bundle"
    with new_folder(path, force=False) as folder:
        (folder / "engine").write_text("bytes")
        assert not path.exists()
        assert folder.parent == path.parent, "a rename is atomic within one file system only"
    assert content(tmp_path) == {"deep/bundle/engine": "bytes"}
    assert names(tmp_path / "deep") == ["bundle"]


@pytest.mark.usefixtures("umask_027")
def test_new_folder_has_the_rights_a_plain_mkdir_gives(tmp_path: Path) -> None:
    with new_folder(tmp_path / "bundle", force=False):
        pass
    assert stat.S_IMODE((tmp_path / "bundle").stat().st_mode) == 0o750


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, OutputError])
@pytest.mark.parametrize("force", [False, True])
def test_failing_block_leaves_no_folder_and_keeps_its_error(
    tmp_path: Path, kind: type[BaseException], force: bool
) -> None:
    with pytest.raises(kind, match="mine"):
        fill(tmp_path / "bundle", force=force, end=fail_with(kind("mine")))
    assert names(tmp_path) == []


def test_full_disk_inside_the_block_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="disk is full"):
        fill(tmp_path / "bundle", force=False, end=full_disk)
    assert names(tmp_path) == []


def test_existing_folder_is_refused_before_the_block_runs(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "engine").write_text("old")
    with pytest.raises(OutputError, match=r"already exists.*--force"), new_folder(tmp_path / "bundle", force=False):
        pytest.fail("the block ran")
    assert content(tmp_path) == {"bundle/engine": "old"}


def test_folder_that_appears_while_the_block_runs_is_not_replaced(tmp_path: Path) -> None:
    """Two builds into one --out: the slower one must not delete what the faster one finished."""
    path = tmp_path / "bundle"

    def other_build_ends() -> None:
        path.mkdir()
        (path / "engine").write_text("theirs")

    with pytest.raises(OutputError, match="already exists"):
        fill(path, force=False, end=other_build_ends)
    assert content(tmp_path) == {"bundle/engine": "theirs"}


def dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, dangling_link], ids=["folder", "file", "link"])
def test_force_swaps_whatever_is_there(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "bundle"
    make(path)
    with new_folder(path, force=True) as folder:
        (folder / "engine").write_text("new")
    assert content(tmp_path) == {"bundle/engine": "new"}
    assert names(tmp_path) == ["bundle"]


def test_force_keeps_the_old_folder_when_the_block_fails(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "engine").write_text("old")
    with pytest.raises(ValueError, match="mine"):
        fill(tmp_path / "bundle", force=True, end=fail_with(ValueError("mine")))
    assert content(tmp_path) == {"bundle/engine": "old"}


def test_force_puts_the_old_folder_back_when_the_swap_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "engine").write_text("old")
    rename, calls = os.rename, []

    def second_fails(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            full_disk()
        rename(source, target)

    monkeypatch.setattr(files, "_exchange", lambda *_: False)  # a file system that cannot swap two names
    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(OutputError, match="disk is full"):
        fill(path, force=True, end=lambda: None)
    assert len(calls) == 3
    assert content(tmp_path) == {"bundle/engine": "old"}
    assert names(tmp_path) == ["bundle"]


def test_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), new_folder(tmp_path / "file" / "below", force=False):
        pytest.fail("the block ran")


@needs_permissions
def test_unwritable_folder_is_an_output_error(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"Permission denied.*Choose another --out"):
        write_atomically(locked / "file", b"")
    with pytest.raises(OutputError, match="Permission denied"), new_folder(locked / "bundle", force=False):
        pytest.fail("the block ran")
    assert names(locked) == []


@needs_permissions
def test_unreadable_parent_is_an_output_error(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o000)
    try:
        with pytest.raises(OutputError, match="Permission denied"), new_folder(locked / "bundle", force=False):
            pytest.fail("the block ran")
    finally:
        locked.chmod(0o700)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, dangling_link], ids=["folder", "file", "link"])
def test_refuse_existing(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "out"
    refuse_existing(path, force=False)
    make(path)
    refuse_existing(path, force=True)
    with pytest.raises(OutputError, match="already exists") as caught:
        refuse_existing(path, force=False)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_and_full_quota_read_the_same(number: int) -> None:
    assert "disk is full" in str(output_error(Path("x"), OSError(number, "whatever")))


def test_other_reasons_are_quoted() -> None:
    assert "Read-only file system" in str(output_error(Path("x"), OSError(errno.EROFS, "Read-only file system")))
    assert "no number" in str(output_error(Path("x"), OSError("no number")))


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_sha256_of_any_length(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    assert sha256_file(tmp_path / "file") == hashlib.sha256(data[:size]).hexdigest()
