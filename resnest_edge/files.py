"""Writing files so that nothing half-written ever stands under its final name; reading them without surprises.

What is being written has the hidden name ``.NAME.partial-XXXXXXXX`` beside its final one, locked (flock(2)) by its
writer. The lock ends with the process, however that ends, so the next write of ``NAME`` removes what killed ones left.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from resnest_edge.errors import OutputError

_CHUNK = 1 << 20
_MAX_JSON_BYTES = 1 << 28
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2(2)


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file under a temporary name beside it, then rename it into place.

    Args:
        path: the file.
        data: what it is to hold.
        mode: its rights, less those that the umask takes.

    Raises:
        OutputError: the folder cannot be made or written to, or the disk is full.
    """
    try:
        with partial_file(path, mode=mode) as stream:
            stream.write(data)
    except OSError as exc:
        raise output_error(path, exc) from exc


def write_text(path: Path, text: str) -> None:
    """Write UTF-8; bytes of a file's name that are no Unicode stand there as escapes (backslashreplace).

    Raises:
        OutputError: as :func:`write_atomically`.
    """
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def partial_file(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file under a temporary name beside ``path``; it takes its name, on disk, only when the block ends well.

    Raises:
        OSError: as the operating system says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = _partial(path, tempfile.mkstemp)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(handle)
            os.chmod(name, mode & ~_umask())
            os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def new_folder(path: Path, *, force: bool) -> Iterator[Path]:
    """Fill a folder under a temporary name beside ``path``; it takes its name only when the block ends well.

    Args:
        path: the folder to make.
        force: replace what is there already.

    Raises:
        OutputError: ``path`` exists and ``force`` is not given, or cannot be written.
    """
    refuse_existing(path, force=force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock, name = _partial(path, _make_folder)
    except OSError as exc:
        raise output_error(path, exc) from exc
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        _swap(temporary, path, force=force)
    except OSError as exc:
        raise output_error(path, exc) from exc
    finally:
        remove(temporary)
        os.close(lock)


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise OutputError when ``path`` exists and may not be replaced."""
    if os.path.lexists(path) and not force:
        raise OutputError("already exists", where=path, hint="Choose another --out, or replace it with --force.")


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a regular file: never waits for a pipe, never takes more memory than ``limit`` bytes.

    Raises:
        OSError: missing, unreadable, not a regular file, or longer than ``limit``.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with os.fdopen(handle, "rb") as stream:
        data = b"" if info.st_size > limit else stream.read(limit + 1)
        if max(info.st_size, len(data)) > limit:
            raise OSError(errno.EFBIG, f"longer than {limit} bytes", str(path))
        return data


def read_json(path: Path) -> Any:
    """What a regular file of JSON holds: UTF-8, without NaN and infinities, at most 256 MiB.

    Raises:
        OSError: as :func:`read_regular`.
        ValueError, RecursionError: it is no such JSON.
    """
    return json.loads(read_regular(path, _MAX_JSON_BYTES).decode("utf-8"), parse_constant=_refuse_constant)


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def copy_hashed(source: BinaryIO, to: Path) -> str:
    """Write what is left of an open file to ``to``, and return the SHA-256, in hex, of the bytes written.

    Raises:
        OSError: as the operating system says.
    """
    hasher = hashlib.sha256()
    with to.open("wb") as stream:
        while chunk := source.read(_CHUNK):
            hasher.update(chunk)
            stream.write(chunk)
    return hasher.hexdigest()


def output_error(path: Path, exc: OSError) -> OutputError:
    """Say in our words what the operating system refused."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError("the disk is full; nothing was left behind", where=path, hint="Free some space and repeat.")
    return OutputError(f"cannot be written ({exc.strerror or exc})", where=path, hint="Choose another --out.")


def write_failure(folder: Path, reason: str) -> OSError:
    """What the system would have said where a library, failing to write into ``folder``, gives only its own reason."""
    room = os.statvfs(folder)
    full = room.f_bavail * room.f_frsize < _CHUNK
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if full else OSError(errno.EIO, reason)


def _partial(path: Path, make: Callable[[str | None, str, Path], tuple[int, str]]) -> tuple[int, str]:
    """Make something under a temporary name, locked: its open handle and its name."""
    prefix = f".{path.name}.partial-"
    sweep(path.parent, prefix)
    while True:
        handle, name = make(None, prefix, path.parent)
        with contextlib.suppress(OSError):  # no locks on this file system: then nobody sweeps there either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.lexists(name):
            return handle, name
        os.close(handle)  # another run swept it away before it was locked


def _make_folder(suffix: str | None, prefix: str, parent: Path) -> tuple[int, str]:
    while True:
        name = tempfile.mkdtemp(suffix, prefix, parent)
        with contextlib.suppress(FileNotFoundError):  # swept away already: make another
            return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), name


def sweep(folder: Path, prefix: str) -> None:
    """Remove what killed runs left: temporary names, starting so, that no process holds the lock of."""
    with os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if entry.name.startswith(prefix)]
    for path in left:
        with contextlib.suppress(OSError):  # gone, locked by its writer, or on a file system without locks
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(path)
            finally:
                os.close(handle)


def remove(path: Path) -> None:
    """Remove a file, link or folder, as far as it goes."""
    if path.is_symlink() or path.is_file():
        with contextlib.suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _swap(temporary: Path, path: Path, *, force: bool) -> None:
    """Rename into place; of an old folder and the new one a reader sees one, whole, at every moment."""
    try:
        if not os.path.lexists(path):
            os.rename(temporary, path)
            return
    except OSError:
        if not os.path.lexists(path):
            raise
    refuse_existing(path, force=force)  # another run may have been faster
    if not _exchange(temporary, path):
        _swap_in_two_steps(temporary, path)


def _exchange(temporary: Path, path: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    names = os.fsencode(temporary), os.fsencode(path)
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(path))


def _swap_in_two_steps(temporary: Path, path: Path) -> None:
    """Move the old folder aside first. Killed between the steps, it stays there: ``.NAME.old-XXXXXXXX/old``."""
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
    try:
        os.rename(path, aside / "old")
        os.rename(temporary, path)
    finally:
        if not os.path.lexists(path) and os.path.lexists(aside / "old"):
            os.rename(aside / "old", path)
        shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
