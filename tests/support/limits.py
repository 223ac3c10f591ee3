"""Commands in a bad place: no room, no rights. Root is denied what others are by losing capabilities."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# prctl(PR_CAPBSET_DROP) of CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: from the next program on, rights count for root
_CONFINED = """
import ctypes, os, resource, sys
limit, program = int(sys.argv[1]), sys.argv[2:]
if os.geteuid() == 0:
    for capability in (1, 2):
        if ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) != 0:
            sys.exit(77)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
os.execv(sys.executable, [sys.executable, "-W", "ignore", *program])
"""


def confined(*arguments: object, file_limit: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line where rights count for root too, and no file may grow beyond ``file_limit`` bytes."""
    command = [sys.executable, "-c", _CONFINED, str(file_limit), "-m", "resnest_edge", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if ran.returncode == 77:
        pytest.skip("root keeps all its rights here: capabilities cannot be dropped")
    return ran


@contextlib.contextmanager
def small_disk(place: Path, kib: int) -> Iterator[Path]:
    """A file system of ``kib`` KiB at ``place``; the test skips, and says so, where none can be mounted."""
    place.mkdir(exist_ok=True)
    options = f"size={kib}k,nr_inodes=200"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here ({mounted.stderr.strip()}): run as root")
    try:
        yield place
    finally:
        os.sync()
        subprocess.run(["umount", "--lazy", str(place)], check=True)
