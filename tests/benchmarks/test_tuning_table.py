"""The script that makes the shipped table: what it runs, and what it writes and supersedes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from benchmarks import tuning
from resnest_edge.cli.app import app
from resnest_edge.pipeline.tunings import SCHEMA, SHIPPED, shipped_records
from tests.support.tunings import KEY, RECORD


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"schema": SCHEMA, "records": []}))
    return path


def told(command: list[str], **changes: Any) -> dict[str, Any]:
    """What a `tune` would print for a command."""
    option = dict(pairwise(command))
    key = replace(KEY, network=command[1], target=option["--target"], precision=option["--precision"])
    return {**replace(RECORD, key=key, **changes).to_json(), "file": "f", "measured_now": True}


def test_every_command_is_one_that_the_command_line_takes() -> None:
    tune = typer.main.get_command(app).commands["tune"]  # type: ignore[attr-defined]
    commands = tuning.commands(tuning._arguments([]))
    assert len(commands) == len(tuning.NETWORKS) * 5 and len({tuple(command) for command in commands}) == len(commands)
    for command in commands:
        context = tune.make_context("tune", list(command[1:]))
        assert context.params["what"] == command[1] and context.params["json"]


def test_entries_are_written_one_by_one_and_superseded(table: Path) -> None:
    words = ["resnest50", "--target", "openvino", "--precision", "int8", "--table", str(table)]
    assert tuning.main(words, told) == 0
    assert tuning.main(["resnest14d", *words[1:]], told) == 0
    assert [record.key.network for record in shipped_records(table)] == ["resnest14d", "resnest50"]
    assert tuning.main(words, lambda command: told(command, form="dense")) == 0
    assert [record.form for record in shipped_records(table)] == [RECORD.form, "dense"]


def test_the_page_has_what_was_chosen_and_every_candidate() -> None:
    chosen, candidate = (line for line in tuning.render([RECORD]).splitlines() if line.startswith("| resnest50 |"))
    assert chosen == f"| resnest50 | 224 | openvino 2026.4.1 | int8 | {RECORD.form} | 0.900 (0.880 to 0.920) |"
    assert candidate.endswith(f"| stage 3 | {RECORD.form} | 9.00 | 10.00 | 0.900 (0.880 to 0.920) | chosen |")


def test_the_page_keeps_devices_apart() -> None:
    other = replace(RECORD, key=replace(KEY, device=replace(KEY.device, kind="avx2 amx_int8")))
    pages = tuning.render([RECORD, other, replace(RECORD, form="dense")]).split("### ")[1:]
    assert [page.splitlines()[0].split(": ")[1] for page in pages] == [KEY.device.kind, "avx2 amx_int8"]
    assert [page.count("| resnest50 | 224 |") for page in pages] == [2, 1]


def test_one_that_fails_costs_the_others_nothing(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(command: list[str]) -> dict[str, Any]:
        if "fp32" in command:
            raise subprocess.CalledProcessError(3, command)
        return told(command)

    assert tuning.main(["resnest50", "--target", "openvino", "--table", str(table)], run) == 1
    assert [record.key.precision for record in shipped_records(table)] == ["bf16", "int8"]
    assert "exit code 3: not in the table" in capsys.readouterr().err


def test_showing_measures_nothing_and_touches_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    before = SHIPPED.read_bytes()
    assert tuning.main(["--show"], lambda command: pytest.fail(f"{command} was run")) == 0
    assert SHIPPED.read_bytes() == before
    assert capsys.readouterr().out.startswith("### ")
