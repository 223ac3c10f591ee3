"""Power in `benchmark`'s table: shown where something tells it, explained where nothing does."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnest_edge.measure import latency
from resnest_edge.measure.power import Gauge, Meter
from tests.support.cli import CommandLine

QUICK = ("--rounds", 1, "--seconds", 0.02, "--warmup", 0.0)


def test_power_columns_are_there_when_something_tells_it(
    cli: CommandLine, engines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(gpu: bool) -> tuple[Meter | None, str]:
        assert not gpu
        return Gauge("a steady 7 W", lambda: 7.0), "a steady 7 W"

    monkeypatch.setattr(latency, "find_meter", find)
    ran = cli("benchmark", engines / "int8", *QUICK)
    assert ran.code == 0, ran.err
    assert "Images/J" in ran.out and " 7.0 " in ran.out
    assert "Power: a steady 7 W." in ran.err


def test_without_it_the_reason_is_given_once(cli: CommandLine, engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "find_meter", lambda gpu: (None, "nothing is here"))
    ran = cli("benchmark", engines / "fp32", engines / "int8", *QUICK)
    assert ran.code == 0, ran.err
    assert "Images/J" not in ran.out
    assert ran.err.count("No power figures: nothing is here.") == 1
