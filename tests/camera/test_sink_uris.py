"""What the user types after ``--sink``."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from resnest_edge.camera.base import Sink
from resnest_edge.camera.sinks import open_sink, open_sinks
from resnest_edge.camera.sinks.mjpeg import MjpegPage
from resnest_edge.errors import OutputError, UnavailableError, UsageError
from tests.support.results import LABELS, counts, result


def test_every_kind_opens_and_takes_results(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    texts = ["live", f"jsonl:{tmp_path / 'a.jsonl'}", "jsonl:-", f"video:{tmp_path / 'v.mp4'}?fps=25", "mjpeg:0"]
    texts += ["webhook:http://127.0.0.1:9/"]
    sinks: tuple[Sink, ...] = open_sinks(texts, labels=LABELS)
    assert len({sink.name for sink in sinks}) == 6
    for sink in sinks:
        sink.write(result(0))
        sink.status({"door": counts(captured=1, inferred=1)})
    for sink in sinks:
        sink.close()
    assert (tmp_path / "a.jsonl").read_text() == capfd.readouterr().out
    assert (tmp_path / "v.mp4").stat().st_size > 0


def test_viewers_show_the_other_sinks(tmp_path: Path) -> None:
    told: list[str] = []
    page, lines = open_sinks(["mjpeg:0", f"jsonl:{tmp_path / 'a.jsonl'}"], labels=LABELS, tell=told.append)
    lines.write(result(0))
    assert isinstance(page, MjpegPage)
    assert told == [f"the page is at {page.url}"]
    assert page.status_json()["sinks"] == {lines.name: {"written": 1, "failed": 0}}
    for sink in (page, lines):
        sink.close()


@pytest.mark.parametrize(
    "text", ["", "live:", "live:x", "jsonl", "jsonl:", "video:", "video:a.avi", "video:a.mp4?fps=x", "webhook:", "x:y"]
)
def test_what_is_not_a_sink(text: str) -> None:
    with pytest.raises(UsageError, match="is not a sink"):
        open_sink(text, labels=LABELS)


def test_a_pace_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fps is above 0"):
        open_sink(f"video:{tmp_path / 'a.mp4'}?fps=0", labels=LABELS)
    assert list(tmp_path.iterdir()) == []


def test_one_bad_sink_closes_those_before_it(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"mine")
    page = open_sink("mjpeg:0", labels=LABELS)
    assert isinstance(page, MjpegPage)
    port = page.url.rsplit(":", 1)[1].strip("/")
    page.close()
    with pytest.raises(OutputError, match="already exists"):
        open_sinks([f"mjpeg:{port}", f"video:{tmp_path / 'v.mp4'}"], labels=LABELS)
    open_sink(f"mjpeg:{port}", labels=LABELS).close()  # the port is free again


def test_a_sink_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="'jsonl:-' is given twice"):
        open_sinks(["jsonl:-", "live", "jsonl:-"], labels=LABELS)


@pytest.mark.parametrize(("text", "word"), [("mjpeg:0", "prometheus_client"), ("video:a.mp4", "PyAV")])
def test_a_missing_library_names_the_extra(text: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(UnavailableError, match=rf"{word}.*resnest-edge\[camera\]"):
        open_sink(text, labels=LABELS)
