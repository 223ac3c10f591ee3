"""`sweep` from the outside, with cells that are not really built; tests/search builds one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resnest_edge.search import local_cells
from tests.search.cells_at_work import measured, refuses_fp16
from tests.support.cli import CommandLine

TWO = ("--precision", "fp32", "--precision", "fp16", "--target", "openvino")


@pytest.fixture
def sweep(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line in an empty folder, whose cells refuse FP16."""

    class Here:
        def run(self, cells, settings):  # type: ignore[no-untyped-def]
            return (refuses_fp16(cell, settings) for cell in cells)

    monkeypatch.setattr(local_cells, "LocalCells", Here)
    monkeypatch.chdir(tmp_path)
    return cli


def test_a_failed_cell_is_told_and_ends_with_1(sweep: CommandLine, tmp_path: Path) -> None:
    ran = sweep("sweep", *TWO, "--out", "s")
    assert ran.code == 1
    assert "no FP16 here" in ran.out and "500\N{NO-BREAK SPACE}img/s" in ran.out
    assert "error: 1 of 2 cells failed" in ran.err and "--retry-failed" in ran.err
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"sweep.json", "sweep.md", "sweep.csv"}


def test_a_sweep_goes_on_and_json_is_one_object(sweep: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweep("sweep", "--precision", "fp32", "--target", "openvino", "--out", "s").code == 0
    ran = sweep("sweep", *TWO, "--out", "s", "--json")
    assert ran.code == 1 and "holds 1 cells of this sweep already" in ran.err
    value = json.loads(ran.out)
    assert [row["status"] for row in value["rows"]] == ["done", "failed"]

    class Mended:
        def run(self, cells, settings):  # type: ignore[no-untyped-def]
            return (measured(cell, settings) for cell in cells)

    monkeypatch.setattr(local_cells, "LocalCells", Mended)
    assert sweep("sweep", *TWO, "--out", "s").code == 1
    assert sweep("sweep", *TWO, "--out", "s", "--retry-failed").code == 0
    ran = sweep("sweep", *TWO, "--out", "s", "--rounds", "3")
    assert ran.code == 2 and "begun differently: plan" in ran.err
    assert sweep("sweep", *TWO, "--out", "s", "--rounds", "3", "--force").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnest51", "--weights", "none"), "resnest51"),
        (("resnest50",), "needs --weights"),
        (("--weights", "my.pth"), "are of a network"),
        (("resnest50", "resnest101", "--weights", "my.pth"), "does not fit several"),
        (("resnest50", "--weights", "my.pth", "--precision", "int8"), "--images DIR"),
        (("--precision", "fp32", "--precision", "fp32"), "names something twice"),
        (("--ray-address", "auto"), "Add --ray"),
        (("--ray", "--keep-engines"), "--keep-engines"),
        (("--precision", "fp9"), "fp9"),
    ],
)
def test_wrong_usage_ends_with_2_and_leaves_nothing(
    sweep: CommandLine, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    ran = sweep("sweep", "--target", "openvino", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_random_networks_calibration_is_said(sweep: CommandLine) -> None:
    ran = sweep("sweep", "resnest50", "--weights", "none", "--target", "openvino", "--out", "s")
    assert ran.code == 0 and "calibrated on the demo's scenes" in ran.err
    assert "calibrated on the demo" in Path("s/sweep.md").read_text(encoding="utf-8")
