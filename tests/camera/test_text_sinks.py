"""JSON lines read back, whole whatever happens; and the live table, drawn on a terminal and not."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from resnest_edge.camera.base import SourceState
from resnest_edge.camera.sinks.jsonl import JsonLines
from resnest_edge.camera.sinks.live import LiveView
from resnest_edge.camera.sinks.tally import Tally
from resnest_edge.errors import OutputError
from tests.support.results import BEGAN, counts, result

ROOT = Path(__file__).resolve().parents[2]


def test_a_line_a_result(tmp_path: Path) -> None:
    sink, path = JsonLines(str(tmp_path / "new" / "answers.jsonl")), tmp_path / "new" / "answers.jsonl"
    for index in range(3):
        sink.write(result(index, "grey whale", probability=0.5))
        assert len(path.read_text().splitlines()) == index + 1  # at once, not when the run ends
    sink.close()
    sink.close()
    first = json.loads(path.read_text().splitlines()[0])
    assert first == {
        "source": "door",
        "frame_id": 0,
        "captured_at": "2026-01-02T03:04:05.678901+00:00",
        "name": None,
        "width": 64,
        "height": 48,
        "answers": [{"index": 2, "label": "grey whale", "probability": 0.5}],
        "latency_ms": {"queue": 0.5, "preprocess": 1.25, "infer": 6.0, "total": 8.0},
        "bundle": "engines/cam",
    }
    assert datetime.fromisoformat(first["captured_at"]) == BEGAN
    assert sink.counters() == {"written": 3, "failed": 0}


def test_a_second_run_appends_and_mends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text('{"half": ')
    sink = JsonLines(str(path))
    sink.write(result(0))
    sink.write(result(1))
    sink.close()
    half, *lines = path.read_text().splitlines()
    assert half == '{"half": ' and [json.loads(line)["frame_id"] for line in lines] == [0, 1]


def test_labels_of_any_script_stay_one_line(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    sink = JsonLines(str(path))
    sink.write(result(0, "Füchse\n狐"))
    sink.close()
    (line,) = path.read_text(encoding="utf-8").split("\n")[:-1]
    assert json.loads(line)["answers"][0]["label"] == "Füchse\n狐" and "狐" in line


def test_standard_output_holds_the_lines_alone(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    live, sink = LiveView(), JsonLines("-")
    for index in range(2):
        live.write(result(index))
        sink.write(result(index))
    sink.close()
    live.close()
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["frame_id"] for line in lines] == [0, 1]


def test_a_full_device_is_an_output_error() -> None:
    sink = JsonLines("/dev/full")
    with pytest.raises(OutputError, match="disk is full"):
        sink.write(result(0))
    assert sink.counters() == {"written": 0, "failed": 1}
    sink.close()


def test_a_full_disk_leaves_whole_lines_and_writing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    sink = JsonLines(str(path))
    sink.write(result(0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, before[1]))  # half of a line fits
    try:
        with pytest.raises(OutputError, match="disk is full"):
            sink.write(result(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    sink.write(result(2))
    sink.close()
    assert [json.loads(line)["frame_id"] for line in path.read_text().splitlines()] == [0, 2]


def test_a_reader_that_left_is_an_output_error() -> None:
    code = (
        "import sys; from resnest_edge.camera.sinks.jsonl import JsonLines\n"
        "from resnest_edge.errors import OutputError\n"
        "from tests.support.results import result\n"
        "sink = JsonLines('-')\n"
        "try:\n    sink.write(result(0))\nexcept OutputError as exc:\n    sys.stderr.write(str(exc))\n"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(write)
    assert b"cannot be written" in done.stderr


@pytest.mark.parametrize("path", ["", "/proc/nothing/here.jsonl", "\0"])
def test_an_impossible_path_is_refused(path: str) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        JsonLines(path)


def drawn(terminal: bool, width: int = 160) -> tuple[LiveView, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width, height=40, color_system=None, _environ={})
    return LiveView(console), stream


def test_the_live_table_shows_sources_answers_and_counts() -> None:
    view, stream = drawn(terminal=True)
    tally_of_peer = JsonLines("-")
    view.watch([tally_of_peer])
    view.write(result(7, "grey whale", probability=0.914))
    view.status({"door": counts(captured=10, inferred=8, dropped=2), "yard": counts(SourceState.RECONNECTING)})
    time.sleep(0.4)  # the table is redrawn by a thread of its own
    view.close()
    view.close()
    text = stream.getvalue()
    door = next(line for line in reversed(text.splitlines()) if "grey whale" in line)
    assert re.findall(r"\S+", door)[:6] == ["door", "streaming", "grey", "whale", "91.4", "%"]
    assert re.findall(r"\S+", door)[6:] == ["0.0", "15.0", "15.0", "10", "8", "2", "0", "0"]
    assert "reconnecting" in text and "jsonl:-: 0 written, 0 failed" in text


def test_without_a_terminal_changes_and_the_last_table_are_told() -> None:
    view, stream = drawn(terminal=False)
    for state in (SourceState.CONNECTING, SourceState.STREAMING, SourceState.STREAMING, SourceState.ENDED):
        view.status({"door": counts(state, captured=3, inferred=3)})
    view.write(result(2, "dog"))
    assert stream.getvalue() == "door: connecting\ndoor: streaming\ndoor: ended\n"
    view.close()
    assert re.search(r"door +ended +dog", stream.getvalue())


def test_markup_in_labels_and_names_is_text() -> None:
    view, stream = drawn(terminal=False)
    view.write(result(0, "[red]x[/red]", source="[b]"))
    view.close()
    assert "[red]x[/red]" in stream.getvalue() and "[b]" in stream.getvalue()


def test_the_rate_is_intervals_over_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tally, now = Tally(), 100.0
    monkeypatch.setattr("resnest_edge.camera.sinks.tally.perf_counter", lambda: now)
    tally.add(result(0))
    assert tally.views()["door"].rate == 0.0  # one result has no rate
    for index in range(1, 11):
        now = 100.0 + index / 10
        tally.add(result(index))
    view = tally.views()["door"]
    assert view.rate == pytest.approx(10.0) and view.p50_ms == 13.0  # totals are 8 to 18
    now = 150.0
    stale = tally.views()["door"]
    assert (stale.rate, stale.p50_ms, stale.p90_ms) == (0.0, None, None) and stale.result is not None


def test_troubles() -> None:
    tally = Tally()
    assert tally.troubles(1.0) == ["the run has not begun"]
    tally.status({"door": counts(), "yard": counts(SourceState.ENDED)})
    assert tally.troubles(60.0) == []
    tally.status({"door": counts(SourceState.STALLED), "yard": counts(SourceState.FAILED)})
    assert tally.troubles(60.0) == ["source door is stalled", "source yard is failed"]
    assert "told nothing" in tally.troubles(-1.0)[-1]
