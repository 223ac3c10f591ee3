"""`resnest-edge inspect` from the outside."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.cli import CommandLine


def test_tables_show_facts_layers_and_what_runs(cli: CommandLine, engines: Path) -> None:
    ran = cli("inspect", engines / "int8")
    assert ran.code == 0, ran.err
    assert "Precision asked" in ran.out and "uint8 batch×96×96×3" in ran.out
    line = next(line for line in ran.out.splitlines() if "layer3.0.split_attention.conv.0" in line)
    assert line.count("int8") == 2 and "Convolution" in line
    assert "Everything the engine runs" in ran.out


def test_json_is_one_object(cli: CommandLine, engines: Path) -> None:
    ran = cli("inspect", engines / "int8", "--json")
    assert ran.code == 0 and ran.err == ""
    value = json.loads(ran.out)
    assert value["precision"]["asked"] == "int8" and value["reason"] is None and value["warnings"] == []
    assert {layer["runs"] for layer in value["layers"]} == {"int8"}


def test_what_is_no_bundle_is_exit_4(cli: CommandLine, tmp_path: Path) -> None:
    ran = cli("inspect", tmp_path)
    assert ran.code == 4 and ran.out == "" and "manifest.json" in ran.err
