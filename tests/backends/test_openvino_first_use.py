"""What several threads do with OpenVINO first of all, in processes that never used it before."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Hands the interpreter from thread to thread as often as it can: threads meet in the bindings' tables in most runs.
SCRIPT = """
import faulthandler, sys, threading
import numpy as np
from resnest_edge.backends import openvino

faulthandler.dump_traceback_later(60, exit=True)
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(4)
cores = []

def first_use():
    barrier.wait()
    ov = openvino._openvino()
    {use}
    cores.append(openvino._core(ov))

threads = [threading.Thread(target=first_use) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(cores) == 4
assert len(set(map(id, cores))) == 1, "a core that is not kept is freed on whatever thread drops it"
"""


@pytest.mark.parametrize(
    "use",
    [
        "ov.Type.f32.to_dtype()",  # what start_async begins with
        "ov.Tensor(np.zeros(1, np.uint8), shared_memory=True)",
        "ov.Tensor(ov.Type.f32, [1]).data",
    ],
)
def test_threads_that_begin_at_once_do_not_wait_for_each_other_for_ever(use: str) -> None:
    command = [sys.executable, "-c", SCRIPT.format(use=use)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
