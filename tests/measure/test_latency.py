from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnest_edge.errors import BundleError, BundleMisfitError, InputError, UsageError
from resnest_edge.measure import Benchmark, Plan, Subject, benchmark
from resnest_edge.measure.process import WorkerProcess
from tests.measure.fakes import SIDE

OPENER = "tests.measure.fakes:open_session"
QUICK = Plan(rounds=3, seconds=0.002, warmup=0.0, timeout=60)


def bundle(folder: Path, name: str, **script: Any) -> Subject:
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"log": str(folder / "log"), **script}))
    return Subject(name, path, "openvino")


def measure(*subjects: Subject, plan: Plan = QUICK, **options: Any) -> Benchmark:
    return benchmark(subjects, plan, opener=OPENER, **options)


def logged(folder: Path) -> list[tuple[int, float, float]]:
    """(pid, start, end) of every inference, by start."""
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    return sorted(((int(pid), float(start), float(end)) for pid, start, end in lines), key=lambda entry: entry[1])


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_two_bundles_end_to_end(tmp_path: Path) -> None:
    plan = Plan(batches=(1, 4), streams=(1, 3), threads=1, rounds=3, seconds=0.004, warmup=0.001)
    steps: list[tuple[int, int]] = []
    found = measure(
        bundle(tmp_path, "fp32"),
        bundle(tmp_path, "int8", precision="int8", input_format="float-nchw"),
        plan=plan,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    cells = [(1, 1), (1, 3), (4, 1), (4, 3)]
    assert [(r.bundle, r.batch, r.streams) for r in found.results] == [
        (name, *cell) for name in ("fp32", "int8") for cell in cells
    ]
    assert [(r.bundle, r.reference, r.batch, r.streams) for r in found.ratios] == [
        ("int8", "fp32", *cell) for cell in cells
    ]
    assert steps == [(step, 2 * 4 * (1 + 3)) for step in range(1, 33)]
    for result in found.results:
        assert result.precision == result.bundle
        assert result.rounds == 3
        assert result.samples >= 3 * result.streams
        assert result.settings == {"batch": result.batch, "streams": result.streams, "threads": 1}
        assert result.timings_ms["most_in_flight"] <= result.streams
        assert result.timings_ms["distinct_inputs"] > 1
        # Little's law: latencies cannot add up to more than the streams' time
        in_flight = result.images_per_second / result.batch * result.latency_ms["mean"] / 1e3
        assert 0 < in_flight <= result.streams * 1.0001  # latencies are sent in steps of 1e-5 ms
        assert 5 < result.peak_rss_mib < 2000
    json.dumps(found.to_json(), allow_nan=False)
    assert found.conditions["cores"] == len(os.sched_getaffinity(0))
    assert not any(alive(pid) for pid, _, _ in logged(tmp_path))


def test_one_worker_works_at_a_time_and_every_round_has_all(tmp_path: Path) -> None:
    rounds = 6
    measure(*(bundle(tmp_path, name) for name in "abc"), plan=Plan(rounds=rounds, seconds=0.003, warmup=0))
    entries = logged(tmp_path)
    slices = [list(group) for _, group in groupby(entries, key=lambda entry: entry[0])]
    for before, after in pairwise(slices):
        assert max(end for _, _, end in before) <= after[0][1]  # perf_counter is one clock for all processes
    # two neighbouring slices of one bundle merge into one run of its pid, where one round ends and the next begins
    assert 2 * rounds + 1 <= len(slices) <= 3 * rounds
    firsts = [group[0][0] for group in slices]
    assert len(set(firsts)) == 3
    assert any(a != b for a, b in zip(firsts, firsts[3:], strict=False)), "the order never changes"


def test_given_frames_are_what_the_engine_sees(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    found = measure(bundle(tmp_path, "a"), plan=Plan(rounds=2, seconds=0.02, warmup=0), frames=frames)
    assert found.results[0].timings_ms["distinct_inputs"] == 3
    assert found.conditions["input"] == "3 images"


def test_frames_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    frames = np.zeros((1, SIDE + 1, SIDE + 1, 3), dtype=np.uint8)
    with pytest.raises(InputError, match=r"^engine-a: .*takes \(N, 8, 8, 3\)"):
        measure(bundle(tmp_path, "engine-a"), frames=frames)


def test_a_deliberate_error_in_the_worker_arrives_whole(tmp_path: Path) -> None:
    with pytest.raises(BundleMisfitError) as error:
        measure(bundle(tmp_path, "good"), bundle(tmp_path, "bad", on_open="misfit"))
    assert (error.value.what, error.value.where, error.value.hint) == (
        "built for another machine",
        "engine.bin",
        "Build it here.",
    )
    with pytest.raises(UsageError, match=r"^small: batch 8 is too large"):
        measure(bundle(tmp_path, "small", largest_batch=4), plan=Plan(batches=(8,)))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("exit", ["ended with exit code 3", "a runtime's greeting on stdout", "the runtime's last words"]),
        ("kill", ["was ended by SIGKILL", "Memory may have run out"]),
        ("bug", ["ended with exit code 1", "ZeroDivisionError: a bug in the backend"]),
    ],
)
@pytest.mark.parametrize("when", ["on_open", "on_submit"])
def test_a_dead_worker_is_named_with_its_last_words(tmp_path: Path, how: str, words: list[str], when: str) -> None:
    with pytest.raises(BundleError) as error:
        measure(bundle(tmp_path, "doomed", **{when: how}), bundle(tmp_path, "fine"))
    message = str(error.value)
    assert message.startswith("doomed: the process that measures it ")
    assert all(word in message for word in words), message


def test_a_worker_that_hangs_is_given_up_and_ended(tmp_path: Path) -> None:
    subject = bundle(tmp_path, "stuck", on_submit="hang")
    request = {"do": "open", "opener": OPENER, "bundle": str(subject.path), "batch": 1, "streams": 1}
    with WorkerProcess("stuck") as worker:
        worker.ask({**request, "threads": None, "frames": None, "seed": 0, "known": {}}, 60)
        with pytest.raises(BundleError, match=r"stuck: .* no answer within 0 s") as error:
            worker.ask({"do": "slice", "cell": 0, "seconds": 0.001}, 0.2)
        worker.__exit__(BundleError, error.value, None)
        assert not alive(worker.pid)


def test_an_interrupt_ends_the_workers(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(bundle(tmp_path, "a"), bundle(tmp_path, "b"), on_progress=interrupt)
    pids = {pid for pid, _, _ in logged(tmp_path)}
    assert pids
    assert not any(alive(pid) for pid in pids)


def test_a_worker_ends_when_its_parent_is_killed() -> None:
    code = (
        "import sys; sys.path[:] = sys.argv[1:]\n"
        "from resnest_edge.measure.process import WorkerProcess\n"
        "with WorkerProcess('orphan') as worker:\n"
        "    print(worker.pid, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    deadline = time.monotonic() + 20
    while _running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _running(pid)


def _running(pid: int) -> bool:
    """Whether a process still runs; one that ended may wait as a zombie for the machine's init to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_memory_of_the_parent_is_not_counted(tmp_path: Path) -> None:
    held = np.ones(60_000_000, dtype=np.float64)  # 458 MiB, touched
    found = measure(bundle(tmp_path, "a"))
    assert held[-1] == 1
    assert found.results[0].peak_rss_mib < 300


@pytest.mark.parametrize(
    "options", [{"rounds": 0}, {"batches": ()}, {"batches": (0,)}, {"streams": (1, -1)}, {"seconds": 0}, {"warmup": -1}]
)
def test_an_impossible_plan_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Plan(**options)


def test_bundles_need_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name of its own"):
        measure(bundle(tmp_path, "a"), bundle(tmp_path, "a"))
    with pytest.raises(UsageError, match="there must be bundles"):
        measure()


def test_a_cell_asked_for_twice_is_measured_once() -> None:
    assert Plan(batches=(1, 8, 1), streams=(2, 2)).cells == ((1, 2), (8, 2))
