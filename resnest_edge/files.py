"""Writing files so that nothing half-written ever stands under its final name."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from resnest_edge.errors import OutputError

_CHUNK = 1 << 20


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name beside it, then rename it into place.

    Raises:
        OutputError: the folder cannot be made or written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as exc:
        raise output_error(path, exc) from exc


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
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as exc:
        raise output_error(path, exc) from exc
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        refuse_existing(path, force=force)  # it may have appeared while the block ran
        _swap(temporary, path)
    except OSError as exc:
        raise output_error(path, exc) from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise OutputError when ``path`` exists and may not be replaced."""
    if os.path.lexists(path) and not force:
        raise OutputError("already exists", where=path, hint="Choose another --out, or replace it with --force.")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    hasher = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def output_error(path: Path, exc: OSError) -> OutputError:
    """Say in our words what the operating system refused."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError("the disk is full; nothing was left behind", where=path, hint="Free some space and repeat.")
    return OutputError(f"cannot be written ({exc.strerror or exc})", where=path, hint="Choose another --out.")


def _swap(temporary: Path, path: Path) -> None:
    """Rename into place; an old folder is moved aside first, so that a reader sees one of the two, whole."""
    if not os.path.lexists(path):
        os.rename(temporary, path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
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
