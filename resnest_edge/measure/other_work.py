"""What else had the cores while something was measured.

The load average before the start says little: it decays over a minute, so the builds that made the bundles are still in
it, and what starts afterwards is not. This is the time that the cores spent on anything but the measurement itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import psutil

_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal: proc(5). Not idle, not waiting for a disk
_SHORTEST = 1.0  # seconds; the kernel counts in hundredths, for each process and each core


class CoreWatch:
    """From when it is made: the time that cores gave to others than this process and the given ones.

    A virtual machine's stolen time counts as others' work. Children of the given processes count as others.

    Args:
        pids: processes that belong to the measurement; they must live until ``others`` is asked.
        cores: ids of the cores to watch.
        stat: the kernel's counters.
        clock: seconds.
    """

    def __init__(
        self,
        pids: Sequence[int],
        cores: Collection[int],
        *,
        stat: Path = Path("/proc/stat"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processes = [psutil.Process(pid) for pid in (os.getpid(), *pids)]
        self._names = frozenset(f"cpu{core}" for core in cores)
        self._stat, self._clock = stat, clock
        self._began = (clock(), self._busy(), self._own())

    def others(self) -> float | None:
        """The cores that others kept busy on average since this was made.

        None where the kernel does not tell, or after less than a second, which is too short for its counters.
        """
        try:
            now = (self._clock(), self._busy(), self._own())
        except psutil.NoSuchProcess:  # one of the measurement's own has ended, and its share with it
            return None
        seconds, busy, own = (end - begin for end, begin in zip(now, self._began, strict=True))
        if seconds < _SHORTEST or busy <= 0:
            return None
        return max(0.0, busy - own) / seconds

    def _busy(self) -> float:
        """Seconds that the cores have worked since the machine started; 0 where that is not told."""
        try:
            rows = [line.split() for line in self._stat.read_text(encoding="ascii").splitlines()]
        except OSError:
            return 0.0
        counts = [int(row[1 + field]) for row in rows if row and row[0] in self._names for field in _BUSY_FIELDS]
        return sum(counts) / os.sysconf("SC_CLK_TCK")

    def _own(self) -> float:
        times = [process.cpu_times() for process in self._processes]
        return sum(taken.user + taken.system for taken in times)
