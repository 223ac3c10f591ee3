"""One quantizer in a process of its own, so that its seconds and its memory are its own, and its death only a row.

python -m benchmarks.quantizer_process FOLDER NUMBER                # what `benchmarks.accuracy` starts
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import psutil

from benchmarks.quantizers import Task, candidates
from resnest_edge.files import write_atomically
from resnest_edge.graph.model import load_graph
from resnest_edge.measure.worker import peak_rss_mib
from resnest_edge.pipeline.pictures import open_pictures
from resnest_edge.pipeline.typed import Network
from resnest_edge.spec import BatchRange, Form, InputFormat, Preprocessing

CORE, CALIBRATION, VALIDATION, ABOUT = "core.onnx", "calibration.txt", "validation.txt", "task.json"
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Limits:
    """What one quantizer may take.

    Attributes:
        seconds: on the wall clock.
        memory_mib: resident, of its process and those it starts.
    """

    seconds: float
    memory_mib: float


def result_path(folder: Path, number: int) -> Path:
    """Where a quantizer's figures, or its reason, are written; beside it lie its graph and what it printed."""
    return folder / f"{re.sub('[^a-z0-9]+', '-', candidates()[number].name.lower())}.json"


def run_apart(folder: Path, number: int, limits: Limits) -> dict[str, Any]:
    """Run one candidate in a process of its own, within limits.

    Returns:
        ``{seconds, cpu_seconds, peak_rss_mib}``, or ``{reason}`` where it failed or was ended.
    """
    out = result_path(folder, number)
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.quantizer_process", str(folder), str(number)]
    with out.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            ended = _watch(process, limits)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if ended is None and not out.exists():
        ended = f"its process ended with {process.returncode}: {_last_line(out.with_suffix('.log'))}"
    if ended is not None:
        write_atomically(out, json.dumps({"reason": ended[:200]}).encode())
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def _watch(process: subprocess.Popen[bytes], limits: Limits) -> str | None:
    """Wait for a process to end; why it has to be ended, where it goes beyond a limit."""
    started = perf_counter()
    while True:
        try:
            process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        else:
            return None
        if perf_counter() - started > limits.seconds:
            return f"ended after {limits.seconds:.0f} s"
        held = _resident_mib(process.pid)
        if held > limits.memory_mib:
            return f"ended at {held:.0f} MiB of memory"


def _resident_mib(pid: int) -> float:
    held = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            held += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass  # it ended between two looks
    return held / 2**20


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"


def read_task(folder: Path) -> Task:
    """The network and pictures that a folder holds."""
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    network = Network(
        about["model"],
        load_graph(folder / CORE),
        Preprocessing.from_json(about["preprocessing"]),
        about["classes"],
        BatchRange(1, 1, 64),
        Form.parse(about["form"]),
        InputFormat.UINT8_NHWC,
    )
    calibration, validation = (
        open_pictures(str(folder / name), about["classes"]) for name in (CALIBRATION, VALIDATION)
    )
    return Task(network, calibration, validation)


def main() -> None:
    """Quantize; write the graph, then the figures."""
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    candidate, task = candidates()[number], read_task(folder)
    started, worked = perf_counter(), process_time()
    graph = candidate.quantize(task)
    figures = {
        "seconds": round(perf_counter() - started, 1),
        "cpu_seconds": round(process_time() - worked, 1),
        "peak_rss_mib": round(peak_rss_mib()),
    }
    out = result_path(folder, number)
    write_atomically(out.with_suffix(".onnx"), graph)
    write_atomically(out, json.dumps(figures).encode())


if __name__ == "__main__":
    main()
