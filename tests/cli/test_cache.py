"""`cache`: what is kept is listed, and removed when asked; a build without it says nothing and keeps nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resnest_edge.stage_cache import CACHE_VARIABLE, StageCache, Step, stages_folder
from tests.support.cli import CommandLine


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def keep(about: str) -> None:
    def write(text: str, folder: Path) -> None:
        (folder / "text").write_text(text)

    StageCache(stages_folder()).fetch(
        Step("stage", about, {"about": about}),
        lambda: "text",
        write,
        lambda folder: (folder / "text").read_text(),
    )


def test_what_is_kept_is_listed_and_cleared(cli: CommandLine, tmp_path: Path) -> None:
    keep("the graph of a network")
    listed = cli("cache", "--json")
    found = json.loads(listed.out)
    assert listed.code == 0 and found["cleared"] is False
    assert found["folder"] == str(tmp_path / "cache" / "stages")
    assert [entry["about"] for entry in found["entries"]] == ["the graph of a network"]
    assert found["entries"][0]["size_bytes"] > 4
    assert "the graph of a network" in cli("cache").out
    cleared = cli("cache", "--clear", "--json")
    assert [entry["about"] for entry in json.loads(cleared.out)["entries"]] == ["the graph of a network"]
    assert json.loads(cli("cache", "--json").out)["entries"] == []


def test_the_doctor_tells_where_and_how_large_it_is(cli: CommandLine, tmp_path: Path) -> None:
    empty = json.loads(cli("doctor", "--json").out)["cache"]
    assert empty == {
        "folder": str(tmp_path / "cache" / "stages"),
        "entries": 0,
        "size_bytes": 0,
        "limit_bytes": 4 << 30,
    }
    assert not (tmp_path / "cache").exists(), "looking makes nothing"
    keep("the graph of a network")
    keep("its scales")
    found, listed = (json.loads(cli(name, "--json").out) for name in ("doctor", "cache"))
    assert found["cache"]["entries"] == 2
    assert found["cache"]["size_bytes"] == sum(entry["size_bytes"] for entry in listed["entries"]) > 8


def test_a_second_export_says_what_it_reused_and_another_may_not(cli: CommandLine, tmp_path: Path) -> None:
    def export(*options: str) -> tuple[str, list[str]]:
        ran = cli("export", "--precision", "fp32", "--out", tmp_path / "cam", "--force", "--json", *options)
        assert ran.code == 0, ran.err
        manifest = json.loads((tmp_path / "cam" / "manifest.json").read_text())
        return manifest["files"]["model.onnx"], [line for line in ran.err.splitlines() if "reused" in line]

    first, second, third = export("--no-cache"), export(), export()
    assert first == second == (third[0], [])
    assert third[1] == ["reused from the cache: the graph of resnest-demo at 96 pixels"]
