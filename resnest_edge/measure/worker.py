"""The process that measures one bundle: it answers JSON lines on a socket.

Requests:
    ``{"do": "open", "opener", "bundle", "batch", "streams", "threads", "frames", "seed", "known"}``, once for each cell
    ``{"do": "slice", "cell", "seconds"}``, any number of times; cells count from 0 in the order they were opened
    ``{"do": "finish"}``
Each is answered by ``{"ok": {…}}``, or by ``{"error": {"kind", "what", "where", "hint"}}`` for a deliberate error.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.base import Session, SessionOptions
from resnest_edge.errors import ResnestEdgeError
from resnest_edge.measure.frames import BATCHES, batch_ring, random_frames

Opener = Callable[..., Session]
"""Loads a bundle, ``(Path, SessionOptions, **known) -> Session``; named to the worker as ``module:function``."""


@dataclass(frozen=True)
class Cell:
    """One session, for one batch size and number of streams, and the inputs it is fed in turn."""

    session: Session
    inputs: list[npt.NDArray[Any]]

    def measure(self, seconds: float) -> dict[str, Any]:
        """Keep every stream busy for ``seconds``, each submitting again as soon as it has its result.

        One inference a stream goes before and is not counted: other processes have had the caches meanwhile.

        Returns:
            ``latencies_ms``: submit to result of each inference; ``seconds``: from the first submit to the last
            result; ``images``: those answered in between.
        """
        streams = range(self.session.options.streams)
        with ThreadPoolExecutor(len(streams), thread_name_prefix="stream") as pool:
            list(pool.map(self._infer, streams))
            spans = [span for loop in pool.map(self._loop, streams, [seconds] * len(streams)) for span in loop]
        return {
            "latencies_ms": [round(1e3 * (end - start), 5) for start, end in spans],
            "seconds": max(end for _, end in spans) - min(start for start, _ in spans),
            "images": len(spans) * self.session.options.batch,
        }

    def _infer(self, turn: int) -> None:
        self.session.submit(self.inputs[turn % len(self.inputs)]).result()

    def _loop(self, stream: int, seconds: float) -> list[tuple[float, float]]:
        """Start and end of each inference of one stream, in seconds of ``time.perf_counter``; at least one."""
        spans: list[tuple[float, float]] = []
        start = time.perf_counter()
        deadline = start + seconds
        while not spans or start < deadline:
            self._infer(stream + len(spans))
            end = time.perf_counter()
            spans.append((start, end))
            start = end
        return spans


def serve(handle: int) -> None:
    """Answer requests on the socket with file descriptor ``handle`` until its other end closes."""
    cells: list[Cell] = []
    os.set_inheritable(handle, False)
    with ExitStack() as engines, socket.socket(fileno=handle) as channel, channel.makefile("rb") as requests:
        for line in requests:
            channel.sendall(json.dumps(_answer(json.loads(line), cells, engines)).encode() + b"\n")


def peak_rss_mib() -> float:
    """Most memory this process has held at once, in MiB.

    From /proc, not getrusage: after fork and exec, ``ru_maxrss`` still counts what the parent held.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _answer(request: dict[str, Any], cells: list[Cell], engines: ExitStack) -> dict[str, Any]:
    try:
        return {"ok": _do(request, cells, engines)}
    except ResnestEdgeError as exc:
        return {"error": {"kind": type(exc).__name__, "what": exc.what, "where": exc.where, "hint": exc.hint}}


def _do(request: dict[str, Any], cells: list[Cell], engines: ExitStack) -> dict[str, Any]:
    if request["do"] == "open":
        return _open(request, cells, engines)
    if request["do"] == "slice":
        return cells[int(request["cell"])].measure(float(request["seconds"]))
    return {"peak_rss_mib": peak_rss_mib(), "timings": [cell.session.timings() for cell in cells]}


def _open(request: dict[str, Any], cells: list[Cell], engines: ExitStack) -> dict[str, Any]:
    options = SessionOptions(batch=request["batch"], streams=request["streams"], threads=request["threads"])
    opener = _resolve(request["opener"])
    start = time.perf_counter()
    session = engines.enter_context(opener(Path(request["bundle"]), options, **request["known"]))
    load_seconds = time.perf_counter() - start
    if request["frames"] is None:
        frames = random_frames(BATCHES * options.batch, session.info.image_size, request["seed"])
    else:
        frames = np.load(request["frames"], allow_pickle=False)
    cells.append(Cell(session, batch_ring(frames, options.batch, session.info)))
    return {
        "precision": session.info.precision.value,
        "load_seconds": load_seconds,
        "settings": session.effective_settings(),
    }


def _resolve(name: str) -> Opener:
    module, _, function = name.partition(":")
    return cast(Opener, getattr(importlib.import_module(module), function))
