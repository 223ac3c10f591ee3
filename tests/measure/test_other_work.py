from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from resnest_edge.measure.other_work import CoreWatch

TICKS = os.sysconf("SC_CLK_TCK")


def write_stat(path: Path, **seconds: tuple[float, ...]) -> None:
    """proc(5): user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice of each core, in ticks."""
    lines = [f"{name} " + " ".join(str(int(value * TICKS)) for value in row) for name, row in seconds.items()]
    path.write_text("\n".join([*lines, "ctxt 7", "btime 1"]) + "\n")


def test_what_the_watched_cores_did_but_idling_and_waiting_is_others_work(tmp_path: Path) -> None:
    stat, now = tmp_path / "stat", [100.0]
    write_stat(stat, cpu=(9,) * 10, cpu0=(1,) * 10, cpu1=(2,) * 10, cpu10=(3,) * 10)
    watch = CoreWatch([], [0, 10], stat=stat, clock=lambda: now[0])
    now[0] += 1000
    # user, system and stolen time on one core, all of it again as idling, waiting and guests' on the other
    write_stat(stat, cpu=(9,) * 10, cpu0=(201, 1, 101, 1, 1, 1, 1, 101, 1, 1), cpu1=(900,) * 10,
               cpu10=(3, 53, 3, 403, 403, 28, 28, 3, 403, 403))  # fmt: skip
    assert watch.others() == pytest.approx((400 + 100) / 1000, abs=0.005)  # this process took a moment of it


def test_nothing_is_told_where_the_kernel_tells_nothing_or_too_little(tmp_path: Path) -> None:
    stat, now = tmp_path / "stat", [0.0]
    missing = CoreWatch([], [0], stat=tmp_path / "none", clock=lambda: now[0])
    write_stat(stat, cpu0=(1,) * 10)
    still = CoreWatch([], [0], stat=stat, clock=lambda: now[0])
    now[0] = 50.0
    assert missing.others() is None
    assert still.others() is None  # a sandbox whose counters stand still
    write_stat(stat, cpu0=(9,) * 10)
    assert still.others() is not None
    now[0] = 0.99
    assert still.others() is None


def spent(process: psutil.Process) -> float:
    taken = process.cpu_times()
    return taken.user + taken.system


def test_work_of_a_known_process_is_the_measurements_own(tmp_path: Path) -> None:
    stat, now = tmp_path / "stat", [0.0]
    write_stat(stat, cpu0=(1,) * 10)
    spin = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    with subprocess.Popen([sys.executable, "-c", spin]) as child:
        try:
            process = psutil.Process(child.pid)
            before = spent(process)
            told, untold = (CoreWatch(pids, [0], stat=stat, clock=lambda: now[0]) for pids in ([child.pid], []))
            begun = spent(process)
            while spent(process) < begun + 0.3:
                time.sleep(0.01)
            now[0] = 10.0
            write_stat(stat, cpu0=(11,) * 10)
            least = spent(process) - begun
            known, unknown = told.others(), untold.others()
            most = spent(process) - before
        finally:
            child.kill()
    assert known is not None
    assert unknown is not None
    assert least / 10 - 0.01 <= unknown - known <= most / 10 + 0.01  # this process's own time was read twice
    assert told.others() is None  # it has ended, and nobody knows what it took
