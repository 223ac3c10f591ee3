"""Sessions without an engine: for evaluation, and, as JSON files that stand for bundles, for the worker process."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.base import Outputs, Session, SessionOptions
from resnest_edge.errors import BundleMisfitError, UsageError
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Precision

SIDE = 8


def info(
    classes: int = 10, input_format: InputFormat = InputFormat.UINT8_NHWC, precision: Precision = Precision.FP32
) -> GraphInfo:
    return GraphInfo("fake", precision, Precision.FP32, None, 8, input_format, BatchRange(1, 8, 64), SIDE, classes)


class LookupSession(Session):
    """Answers ``table[id]`` for an image whose first pixel spells ``id`` (red + 256 · green)."""

    def __init__(self, table: npt.NDArray[np.float32], batch: int = 1, streams: int = 1) -> None:
        super().__init__(info(table.shape[1]), SessionOptions(batch=batch, streams=streams))
        self._table = table
        self._pool = ThreadPoolExecutor(streams)
        self._free = threading.Semaphore(streams)
        self.submitted = 0

    def submit(self, images: npt.NDArray[Any]) -> Future[Outputs]:
        assert images.shape == (self.options.batch, SIDE, SIDE, 3)
        assert images.dtype == np.uint8
        self.submitted += 1
        self._free.acquire()
        return self._pool.submit(self._answer, images)

    def _answer(self, images: npt.NDArray[Any]) -> Outputs:
        ids = images[:, 0, 0, 0].astype(int) + 256 * images[:, 0, 0, 1].astype(int)
        logits = self._table[ids]
        self._free.release()
        return Outputs(logits, logits)

    def timings(self) -> dict[str, float]:
        return {}

    def effective_settings(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self._pool.shutdown()


class ScriptedSession(Session):
    """Answers at once and behaves as the JSON file it was opened from says; ``log`` collects pid and time."""

    def __init__(self, script: dict[str, Any], options: SessionOptions) -> None:
        super().__init__(
            info(
                input_format=InputFormat(script.get("input_format", "uint8-nhwc")),
                precision=Precision(script.get("precision", "fp32")),
            ),
            options,
        )
        self._script = script
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(options.streams)
        self._now, self._most = 0, 0
        self._inputs: set[bytes] = set()

    def submit(self, images: npt.NDArray[Any]) -> Future[Outputs]:
        self._check(images)
        assert len(images) == self.options.batch
        with self._lock:
            self._now += 1
            self._most = max(self._most, self._now)
            self._inputs.add(images.tobytes())
        start = time.perf_counter()
        _misbehave(self._script.get("on_submit"))
        return self._pool.submit(self._answer, start)

    def _answer(self, start: float) -> Outputs:
        logits = np.zeros((self.options.batch, 10), dtype=np.float32)
        with self._lock:
            self._now -= 1
            if "log" in self._script:
                with Path(self._script["log"]).open("a") as log:
                    log.write(f"{os.getpid()} {start!r} {time.perf_counter()!r}\n")
        return Outputs(logits, logits)

    def timings(self) -> dict[str, float]:
        return {"most_in_flight": self._most, "distinct_inputs": len(self._inputs)}

    def effective_settings(self) -> dict[str, Any]:
        return {"batch": self.options.batch, "streams": self.options.streams, "threads": self.options.threads}

    def close(self) -> None:
        self._pool.shutdown()


def open_session(path: Path, options: SessionOptions) -> Session:
    script = json.loads(path.read_text())
    print("a runtime's greeting on stdout", flush=True)
    if options.batch > script.get("largest_batch", 64):
        raise UsageError(f"batch {options.batch} is too large", hint="Use a smaller one.")
    _misbehave(script.get("on_open"))
    return ScriptedSession(script, options)


def _misbehave(how: str | None) -> None:
    if how == "misfit":
        raise BundleMisfitError("built for another machine", where="engine.bin", hint="Build it here.")
    if how == "exit":
        sys.stderr.write("the runtime's last words\n")
        sys.stderr.flush()
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "bug":
        raise ZeroDivisionError("a bug in the backend")
    if how == "hang":
        threading.Event().wait()
