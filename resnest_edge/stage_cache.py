"""What a build's stages gave, kept for the next build: found by everything that entered, verified, bounded in size.

An entry is a folder ``STAGE-KEY`` whose name is the SHA-256 of what entered: digests of files, settings, the package's
own code, the versions of its tools, and the CPU. It appears whole, by one rename, and ``entry.json`` holds the digests
of its files. A damaged entry is removed and made anew; the least recently used ones make room.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from platformdirs import user_cache_dir

from resnest_edge import environment
from resnest_edge.errors import OutputError, ResnestEdgeError
from resnest_edge.files import new_folder, read_regular, remove, sha256_file, sweep, write_atomically

CACHE_VARIABLE = "RESNEST_EDGE_CACHE"
LIMIT_BYTES = 4 << 30
"""What all entries may take on disk."""
SCHEMA = 1
_ENTRY = "entry.json"
_ENTRY_BYTES = 1 << 20
_Value = TypeVar("_Value")


def cache_root() -> Path:
    """``$RESNEST_EDGE_CACHE``, else the user's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_dir("resnest-edge"))


def stages_folder() -> Path:
    """Where builds keep what their stages gave."""
    return cache_root() / "stages"


@dataclass(frozen=True)
class Step:
    """One stage of one build.

    Attributes:
        stage: its name, a short word.
        about: what it gave, in words, for people.
        parts: everything that decides its result beyond code, versions and CPU; see :func:`plain`.
    """

    stage: str
    about: str
    parts: Mapping[str, Any]

    def key(self) -> str:
        """SHA-256, in hex, of all that decides the result."""
        machine = {
            "cpu": environment.cpu_name(),
            "isa": environment.cpu_isa(),
            "versions": environment.tool_versions(),
            "code": code_digest(),
        }
        whole = {"schema": SCHEMA, "stage": self.stage, "machine": machine, "parts": plain(self.parts)}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """What the cache holds of one stage.

    Attributes:
        path: its folder.
        about: what it is, in words; empty where it cannot be read.
        size_bytes: of its files.
        used: when it was last used, seconds since 1970.
    """

    path: Path
    about: str
    size_bytes: int
    used: float


class StageCache:
    """Gives what a stage gave before, or runs it and keeps what it gives.

    Attributes:
        folder: where entries are.
        reused: what was reused so far, in words.
    """

    def __init__(
        self, folder: Path, tell: Callable[[str], None] = lambda _: None, *, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self.folder = folder
        self.reused: list[str] = []
        self._tell, self._limit = tell, limit_bytes

    def fetch(
        self,
        step: Step,
        make: Callable[[], _Value],
        write: Callable[[_Value, Path], None],
        read: Callable[[Path], _Value],
    ) -> _Value:
        """The stage's result.

        Args:
            step: which, and what decides it.
            make: runs the stage; its errors pass through, and nothing is kept.
            write: puts the result into a folder, as files.
            read: takes it from there.
        """
        place = self.folder / f"{step.stage}-{step.key()}"
        try:
            found = self._read(place, read)
        except (ResnestEdgeError, OSError, ValueError, LookupError, TypeError) as exc:
            self._tell(f"removed a damaged entry of the cache, {place}: {exc}")
            self._drop(place)
            found = None
        if found is not None:
            self.reused.append(step.about)
            self._tell(f"reused from the cache: {step.about}")
            return found
        value = make()
        self._keep(place, step, value, write)
        return value

    def entries(self) -> list[Entry]:
        """What is kept, the least recently used first."""
        try:
            with os.scandir(self.folder) as folders:
                names = [one.name for one in folders if one.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        found = [_entry(self.folder / name) for name in names if not name.startswith(".")]
        return sorted(found, key=lambda entry: (entry.used, entry.path.name))

    def clear(self) -> list[Entry]:
        """Remove every entry, and what killed builds left.

        Returns:
            What was removed.
        """
        found = self.entries()
        for entry in found:
            self._drop(entry.path)
        if self.folder.is_dir():
            sweep(self.folder, ".")
        return found

    def _read(self, place: Path, read: Callable[[Path], _Value]) -> _Value | None:
        if not place.is_dir():
            return None
        record = json.loads(read_regular(place / _ENTRY, _ENTRY_BYTES))
        if record["schema"] != SCHEMA or record["key"] != place.name:
            raise ValueError("it is the entry of something else")
        for name, digest in record["files"].items():
            if Path(name).name != name or sha256_file(place / name) != digest:
                raise ValueError(f"{name} is not what was written")
        value = read(place)
        os.utime(place)
        return value

    def _keep(self, place: Path, step: Step, value: _Value, write: Callable[[_Value, Path], None]) -> None:
        """Write an entry; a cache that cannot be written to costs time, not the build."""
        try:
            with new_folder(place, force=True) as folder:
                write(value, folder)
                files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
                record = {"schema": SCHEMA, "key": place.name, "about": step.about, "files": files}
                write_atomically(folder / _ENTRY, (json.dumps(record, indent=1) + "\n").encode())
            self._make_room(place)
        except (OutputError, OSError) as exc:
            self._tell(f"nothing is kept for the next build, the cache is not writable: {exc}")

    def _make_room(self, newest: Path) -> None:
        sweep(self.folder, ".")
        entries = self.entries()
        total = sum(entry.size_bytes for entry in entries)
        for entry in entries:
            if total <= self._limit or entry.path == newest:
                return
            self._drop(entry.path)
            total -= entry.size_bytes

    def _drop(self, place: Path) -> None:
        """Take the name away first, so that no reader finds half of it."""
        aside = Path(tempfile.mkdtemp(prefix=".removed-", dir=self.folder))
        with contextlib.suppress(OSError):
            os.rename(place, aside / place.name)
        remove(aside)


def plain(value: Any) -> Any:
    """A value as JSON takes it, the same for equal values: sets are sorted, dataclasses are tables of their fields.

    Raises:
        TypeError: a value of a type that has no such form.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=json.dumps)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} does not tell what it is")


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 over this package's own modules: another version of a stage may give something else."""
    root = Path(__file__).resolve().parent
    hasher = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        hasher.update(f"{path.relative_to(root).as_posix()} {sha256_file(path)}\n".encode())
    return hasher.hexdigest()


def _entry(path: Path) -> Entry:
    size, about, used = 0, "", 0.0
    with contextlib.suppress(OSError):  # a build beside this one may be removing it
        used = path.stat().st_mtime
        size = sum(file.stat().st_size for file in path.iterdir())
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        about = str(json.loads(read_regular(path / _ENTRY, _ENTRY_BYTES))["about"])
    return Entry(path, about, size, used)
