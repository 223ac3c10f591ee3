from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from resnest_edge.errors import InputError, OutputError
from resnest_edge.report import load_report, render_html, render_markdown, write_report
from tests.report.samples import two

NAMES = ["index.html", "pull-request.md", "report.json", "report.md", "results.csv"]


def test_the_pages_are_functions_of_the_json(tmp_path: Path) -> None:
    paths = write_report(two(), tmp_path / "new" / "folder")
    assert sorted(path.name for path in paths) == NAMES
    loaded = load_report(paths[0])
    assert paths[1].read_text(encoding="utf-8") == render_markdown(loaded)
    assert paths[2].read_text(encoding="utf-8") == render_html(loaded)


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        write_report(two(), tmp_path)
    assert os.listdir(tmp_path) == ["index.html"]
    (tmp_path / "other.txt").write_text("kept")
    write_report(two(), tmp_path, force=True)
    assert sorted(os.listdir(tmp_path)) == sorted([*NAMES, "other.txt"])
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == render_html(two())


def test_a_report_that_json_cannot_hold_writes_nothing(tmp_path: Path) -> None:
    broken = replace(two(), rows=(replace(two().rows[0], top1=float("nan")),))
    with pytest.raises(InputError):
        write_report(broken, tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_report(two(), tmp_path / "file" / "report")
