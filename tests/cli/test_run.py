"""`resnest-edge run` from the outside: what it prints and leaves, signals, and what it says of bad input."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import pytest

from tests.support.cli import CommandLine


def test_a_folder_as_json(cli: CommandLine, engines: Path, pictures: Path, tmp_path: Path) -> None:
    ran = cli(
        *("run", engines / "fp32", "--source", f"p={pictures}", "--source", "demo:?fps=0&frames=30", "--top-k", 3),
        *("--sink", f"jsonl:{tmp_path / 'a.jsonl'}", "--batch", 4, "--json"),
    )
    assert ran.code == 0, ran.err
    value = json.loads(ran.out)
    assert value["bundle"] == str(engines / "fp32")
    assert {row["source"]: (row["captured"], row["inferred"]) for row in value["sources"]} == {
        "p": (60, 60),
        "demo": (30, 30),
    }
    assert value["sinks"][0]["written"] == 90 and value["latency_ms"]["total"]["p50"] > 0
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    named = {line["name"]: line["answers"] for line in lines if line["source"] == "p"}
    right = sum(answers[0]["label"] == name.split("/")[0] for name, answers in named.items())
    assert len(named) == 60 and right >= 54, "the demo model names the digit of the picture's folder"
    assert all(len(answers) == 3 for answers in named.values())


def test_lines_are_the_default_where_nobody_watches(cli: CommandLine, engines: Path) -> None:
    ran = cli("run", engines / "fp32", "--source", "demo:?fps=0&frames=12", "--threshold", 1.0)
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 0 and [line["frame_id"] for line in lines] == list(range(12))
    assert all(answer["probability"] == 1.0 for line in lines for answer in line["answers"])


def test_a_table_when_stdout_is_free(cli: CommandLine, engines: Path, tmp_path: Path) -> None:
    sink = f"jsonl:{tmp_path / 'a.jsonl'}"
    ran = cli("run", engines / "fp32", "--source", "demo:?fps=0&frames=5", "--sink", sink)
    assert ran.code == 0 and "Captured" in ran.out and "Median milliseconds" in ran.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("BUNDLE", "--source", "missing.mp4"), 2, "missing.mp4"),
        (("BUNDLE", "--source", "tcp://x"), 2, "scheme"),
        (("BUNDLE", "--source", "a=demo:", "--source", "a=demo:"), 2, "two sources are named 'a'"),
        (("BUNDLE", "--source", "demo:", "--sink", "nowhere"), 2, "not a sink"),
        (("BUNDLE", "--source", "demo:", "--batch", 65), 2, "1:1:64"),
        (("BUNDLE", "--source", "demo:", "--smoothing", 1.0), 2, "smoothing"),
        (("BUNDLE", "--source", "demo:", "--json", "--sink", "jsonl:-"), 2, "stdout"),
        (("BUNDLE", "--source", "v4l2:///dev/video-none"), 3, "plugged"),
        (("BUNDLE", "--source", "rtsp://127.0.0.1:1/x", "--retries", 1, "--backoff", 0.01), 3, "lost"),
        (("missing", "--source", "demo:"), 4, "bundle"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_goes_wrong(
    arguments: tuple[object, ...], code: int, message: str, cli: CommandLine, engines: Path
) -> None:
    ran = cli("run", *(engines / "fp32" if word == "BUNDLE" else word for word in arguments))
    assert ran.code == code, ran.err
    assert message in ran.err and "bug" not in ran.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_with_2_and_the_account_closes(cli: CommandLine, engines: Path) -> None:
    ran = cli("run", engines / "fp32", "--source", "demo:?fps=0&frames=20", "--sink", "jsonl:/dev/full", "--json")
    assert ran.code == 2 and "full" in ran.err
    value = json.loads(ran.out)
    assert value["sources"][0]["inferred"] == 20 and value["sinks"][0] == {
        "name": "jsonl:/dev/full",
        "written": 0,
        "failed": 20,
    }
    ran = cli(
        *("run", engines / "fp32", "--source", "demo:?fps=0", "--sink", "jsonl:/dev/full", "--stop-on-sink-error"),
    )
    assert ran.code == 2 and "full" in ran.err


# ── Signals ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Running:
    """`resnest-edge run` in a process of its own, on a demo camera that never ends."""

    def __init__(self, bundle: Path, lines: Path, stdin: int = subprocess.DEVNULL) -> None:
        self.lines = lines
        command = [sys.executable, "-m", "resnest_edge", "run", str(bundle), "--source", "demo:?fps=50", "--json"]
        self.process = subprocess.Popen(
            [*command, "--sink", f"jsonl:{lines}"],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []
        self.ended = False
        assert self.process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,))
        self._reader.start()

    def until(self, done: Callable[[], bool], limit: float = 60.0) -> None:
        start = perf_counter()
        while not done():
            assert self.process.poll() is None and perf_counter() - start < limit, self.said
            sleep(0.02)

    def answered(self) -> int:
        return self.lines.read_bytes().count(b"\n") if self.lines.exists() else 0

    def end(self) -> tuple[int, Any]:
        self.ended = True
        with self.process:  # closes its pipes
            assert self.process.stdout is not None
            out = self.process.stdout.read()
            self._reader.join()
            return self.process.wait(60), json.loads(out) if out else None

    def _read(self, stream: Any) -> None:
        self.said.extend(stream)


@contextmanager
def running(bundle: Path, lines: Path, stdin: int = subprocess.DEVNULL) -> Iterator[Running]:
    ran = Running(bundle, lines, stdin)
    try:
        ran.until(lambda: ran.answered() >= 3)
        yield ran
    finally:
        if not ran.ended:  # the test failed
            ran.process.kill()
            ran.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_signals_drain_and_exit_0(number: signal.Signals, engines: Path, tmp_path: Path) -> None:
    with running(engines / "fp32", tmp_path / "a.jsonl") as ran:
        ran.process.send_signal(number)
        code, value = ran.end()
    assert code == 0, ran.said
    (account,) = value["sources"]
    assert account["captured"] == account["inferred"] + account["dropped"] + account["failed"]
    assert account["inferred"] == ran.answered() >= 3 and account["state"] == "ended"


def test_sighup_reads_the_bundle_again(engines: Path, tmp_path: Path) -> None:
    link = tmp_path / "engine"
    link.symlink_to(engines / "fp32")
    with running(link, tmp_path / "a.jsonl") as ran:
        link.unlink()
        link.symlink_to(engines / "int8")
        ran.process.send_signal(signal.SIGHUP)
        ran.until(lambda: any("the engine is now" in line for line in ran.said))
        seen = ran.answered()
        ran.until(lambda: ran.answered() > seen + 2)
        link.unlink()
        ran.process.send_signal(signal.SIGHUP)
        ran.until(lambda: any("the engine stays" in line for line in ran.said))
        ran.process.send_signal(signal.SIGTERM)
        code, value = ran.end()
    assert code == 0 and value["swaps"] == 1
    assert value["sources"][0]["failed"] == 0 and value["sources"][0]["inferred"] == ran.answered()


def test_a_terminal_that_closes_ends_the_run(engines: Path, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    with running(engines / "fp32", tmp_path / "a.jsonl", stdin=slave) as ran:
        os.close(slave)
        os.close(master)
        ran.process.send_signal(signal.SIGHUP)  # as the kernel does to the terminal's own session
        code, value = ran.end()
    assert code == 0 and value["swaps"] == 0 and value["sources"][0]["state"] == "ended"
