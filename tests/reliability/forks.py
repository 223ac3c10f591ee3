"""Writers of bundles that are killed at a chosen step, or that race each other: ``python -m tests.reliability.forks``.

A program of its own, because it forks: it has one thread. It prints what it found, as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from resnest_edge.bundle import open_bundle, write_bundle
from resnest_edge.errors import ResnestEdgeError
from resnest_edge.files import new_folder, write_atomically
from resnest_edge.stage_cache import StageCache, Step
from tests.support.bundles import LABELS, MANIFEST

STEPS = frozenset(
    ["fcntl.flock", "open", "os.chmod", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "ctypes.dlsym"]
)
"""Audit events that a writer's work on the disk raises; the swap of two folders stands between the last two kinds."""


def write(path: Path, content: bytes, *, force: bool, wait: Callable[[], object] = lambda: None) -> None:
    """Write a whole bundle whose engine is ``content``; ``wait`` is called before it gets its name."""
    with new_folder(path, force=force) as folder:
        (folder / "model.onnx").write_bytes(b"graph")
        (folder / "engine.xml").write_bytes(content)
        write_bundle(folder, MANIFEST, LABELS)
        wait()


def forked(work: Callable[[], None]) -> int:
    """Start ``work`` in a child; its process id. The child exits with an error's exit code, or 70."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        work()
        code = 0
    except ResnestEdgeError as exc:
        code = exc.exit_code
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """How a child ended: its exit code, or minus the signal's number."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(step: int) -> None:
    """Arrange that this process kills itself, as ``kill -9`` does, at its ``step``-th step on the disk."""
    left = [step]

    def count(event: str, _: tuple[object, ...]) -> None:
        if event in STEPS:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def killed_everywhere(folder: Path, *, old: bool) -> dict[str, object]:
    """Kill a writer at its first step, its second … until it comes through; what stands there after each."""
    path, wrong, step = folder / "cam", [], 0
    while True:
        step += 1
        if old:
            write(path, b"old", force=True)

        def work(step: int = step) -> None:
            kill_at(step)
            write(path, b"new", force=old)

        code = ended(forked(work))
        if code not in (0, -signal.SIGKILL):
            wrong.append(f"step {step}: ended with {code}")
        if path.exists() or old:
            engine = open_bundle(path).engine.read_bytes()  # raises where the bundle is damaged or gone
            if engine not in ((b"old", b"new") if old else (b"new",)):
                wrong.append(f"step {step}: {engine!r}")
        write(path, b"next", force=True)  # the next run succeeds
        left = sorted(entry.name for entry in folder.iterdir())
        if left != ["cam"] or open_bundle(path).engine.read_bytes() != b"next":
            wrong.append(f"step {step}: the next run left {left}")
        if code == 0:
            return {"steps": step, "wrong": wrong}
        shutil.rmtree(path)


def race(folder: Path, *, force: bool, rounds: int = 40) -> dict[str, object]:
    """Two writers of one bundle, let go at the same moment, ``rounds`` times."""
    path, codes, wrong = folder / "cam", [], []
    ready_in, ready_out = os.pipe()
    go_in, go_out = os.pipe()

    def wait() -> None:
        os.write(ready_out, b".")
        os.read(go_in, 1)

    for _ in range(rounds):
        first = forked(lambda: write(path, b"first", force=force, wait=wait))
        second = forked(lambda: write(path, b"second", force=force, wait=wait))
        for _ in (first, second):
            os.read(ready_in, 1)
        os.write(go_out, b"..")
        codes.append(sorted((ended(first), ended(second))))
        engine = open_bundle(path).engine.read_bytes()
        left = sorted(entry.name for entry in folder.iterdir())
        if engine not in (b"first", b"second") or left != ["cam"]:
            wrong.append(f"{engine!r}, {left}")
        shutil.rmtree(path)
    return {"codes": codes, "wrong": wrong}


def cache_killed_everywhere(folder: Path) -> dict[str, object]:
    """Kill what keeps a stage, and makes room for it, at its first step, its second …; what later builds find."""
    wrong, step = [], 0
    while True:
        step += 1
        for old in ("a", "b", "c", "d"):
            keep(folder, old, old)

        def work(step: int = step) -> None:
            kill_at(step)
            keep(folder, "new", "new")

        code = ended(forked(work))
        if code not in (0, -signal.SIGKILL):
            wrong.append(f"step {step}: ended with {code}")
        told: list[str] = []
        found = [keep(folder, key, key, told.append) for key in ("a", "b", "c", "d", "new", "another")]
        if found != ["a", "b", "c", "d", "new", "another"] or any("damaged" in text for text in told):
            wrong.append(f"step {step}: {found}, {told}")
        left = [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]
        wrong.extend(f"step {step}: {name} is left" for name in left)
        if code == 0:
            return {"steps": step, "wrong": wrong}
        StageCache(folder).clear()


def keep(folder: Path, key: str, text: str, tell: Callable[[str], None] = lambda _: None) -> str:
    """What the cache gives for ``key``; ``text`` where it has nothing. Four entries fit."""
    return StageCache(folder, tell, limit_bytes=1000).fetch(
        Step("stage", key, {"key": key}),
        lambda: text,
        lambda value, place: write_atomically(place / "text", value.encode()),
        lambda place: (place / "text").read_text(),
    )


def main() -> None:
    """``python -m tests.reliability.forks killed|replaced|race|forced|cache FOLDER``."""
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what in ("killed", "replaced"):
        found = killed_everywhere(folder, old=what == "replaced")
    elif what == "cache":
        found = cache_killed_everywhere(folder)
    else:
        found = race(folder, force=what == "forced")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
