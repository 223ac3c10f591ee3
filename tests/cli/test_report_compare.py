"""`report --compare` from the outside: what it prints and leaves, and its exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.samples import everything
from tests.support.cli import CommandLine


@pytest.fixture
def reports(tmp_path: Path) -> tuple[Path, Path]:
    """An old report, and a new one that lost half a point of top-1."""
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    report = everything()
    rows = (report.rows[0], replace(report.rows[1], top1=86.84))
    old.write_text(report.dumps(), encoding="utf-8")
    new.write_text(replace(report, rows=rows).dumps(), encoding="utf-8")
    return old, new


def test_a_line_that_is_crossed_ends_with_1(cli: CommandLine, reports: tuple[Path, Path]) -> None:
    ran = cli("report", "--compare", *reports, "--fail-on", "drop>0.3,latency>5%")
    assert ran.code == 1
    assert "INT8" in ran.out and "FAILED" in ran.out
    assert "error: Of 6 checks, 1 failed: drop>0.3: INT8" in ran.err


def test_lines_that_hold_end_with_0(cli: CommandLine, reports: tuple[Path, Path]) -> None:
    ran = cli("report", "--compare", *reports, "--fail-on", "drop>0.6,latency>5%")
    assert (ran.code, "All 6 checks passed." in ran.out) == (0, True)
    assert cli("report", "--compare", *reports).code == 0


def test_json_is_one_object_and_pages_are_written_on_request(
    cli: CommandLine, reports: tuple[Path, Path], tmp_path: Path
) -> None:
    ran = cli("report", "--compare", *reports, "--fail-on", "drop>0.3", "--json", "--out", tmp_path / "c")
    assert ran.code == 1
    value = json.loads(ran.out)
    assert value["passed"] is False and value["schema"] == 1
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"compare.json", "compare.md", "compare.html"}
    assert cli("report", "--compare", *reports, "--out", tmp_path / "c").code == 2
    assert cli("report", "--compare", *reports, "--out", tmp_path / "c", "--force").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--compare", "OLD"), "--compare takes two reports, not 1"),
        (("--compare", "OLD", "NEW", "NEW"), "--compare takes two reports, not 3"),
        (("--compare", "OLD", "absent.json"), "absent.json"),
        (("--compare", "OLD", "NEW", "--fail-on", "drop>1%"), "percentage points"),
        (("--compare", "OLD", "NEW", "--images", "demo:test"), "--images has no meaning with --compare"),
        (("OLD", "--fail-on", "drop>1"), "Give --compare"),
    ],
)
def test_wrong_usage_ends_with_2(
    cli: CommandLine, reports: tuple[Path, Path], arguments: tuple[str, ...], words: str
) -> None:
    named = {"OLD": str(reports[0]), "NEW": str(reports[1])}
    ran = cli("report", *(named.get(word, word) for word in arguments))
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


def test_a_sensitivity_of_another_model_is_refused(
    cli: CommandLine, reports: tuple[Path, Path], tmp_path: Path
) -> None:
    layer = {"layer": "a", "macs": 1, "harm": 0.1, "kl": 0.1, "changed": 0.0, "top1_change": None}
    layers = tmp_path / "layers.json"
    for model, code in (("resnest101", 2), ("resnest50", 0)):
        layers.write_text(json.dumps({"model": model, "target": "openvino", "layers": [layer]}))
        ran = cli("report", reports[0], "--sensitivity", layers, "--published", "--out", tmp_path / model)
        assert ran.code == code, ran.err
    page = (tmp_path / "resnest50" / "index.html").read_text(encoding="utf-8")
    assert "Sensitivity" in page and "Published by others, not measured here" in page and "B7" in page
