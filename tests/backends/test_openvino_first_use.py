"""What several threads do with OpenVINO first of all."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from resnest_edge.backends import openvino

# Hands the interpreter from thread to thread as often as it can: left to themselves, threads wait for each other for
# ever in most runs.
SCRIPT = """
import faulthandler, sys, threading
from resnest_edge.backends import openvino

faulthandler.dump_traceback_later(60, exit=True)
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(4)

def first_use():
    barrier.wait()
    openvino._openvino().Type.f32.to_dtype()  # what start_async begins with

threads = [threading.Thread(target=first_use) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_begin_at_once_do_not_wait_for_each_other_for_ever() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_threads_that_begin_at_once_share_one_core() -> None:
    class Bindings:
        """Where making a core takes long enough for the others to come."""

        def Core(self) -> object:  # noqa: N802
            time.sleep(0.05)
            return object()

    bindings = Bindings()
    with ThreadPoolExecutor(4) as threads:
        cores = list(threads.map(openvino._core, [bindings] * 4))
    assert len(set(cores)) == 1, "one that is not kept is freed on whatever thread drops it"
