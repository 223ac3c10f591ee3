"""Absurd numbers: every numeric option of every verb has two ends, and what lies beyond them is a usage error."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from resnest_edge.cli.app import app
from scripts import cli_reference
from tests.support.cli import CommandLine

MANY_DIGITS = "9" * 5000  # more than int() reads
ABSURD = (
    "0",
    "-1",
    str(10**30),
    "NaN",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "١٢",
    "½",
    "",
    "0x10",
    "1.5",
    "ten",
    MANY_DIGITS,
)
WHOLE, REAL = re.compile("-?[0-9]+"), re.compile(r"-?[0-9]+(\.[0-9]+)?(e[0-9]+)?")

GROUP: Any = typer.main.get_command(app)
VERBS: dict[str, list[Any]] = {
    name: [
        parameter
        for parameter in command.params
        if parameter.type_descriptor.annotation in (int, float, list[int], list[float])
    ]
    for name, command in GROUP.commands.items()
}


def is_whole(parameter: Any) -> bool:
    return parameter.type_descriptor.annotation in (int, list[int])


def is_legal(parameter: Any, text: str) -> bool:
    """Whether an option may take a value; the oracle, which reads digits and nothing else."""
    if not (WHOLE if is_whole(parameter) else REAL).fullmatch(text) or len(text) > 1000:
        return False
    return bool(parameter.min <= float(text) <= parameter.max)


def test_the_verbs_have_numbers_at_all() -> None:
    """Else the tests below would pass on nothing."""
    assert {"build", "export", "calibrate", "finetune", "benchmark", "report", "sensitivity", "sweep", "run"} <= {
        verb for verb, numbers in VERBS.items() if numbers
    }
    assert sum(map(len, VERBS.values())) >= 40


@pytest.mark.parametrize("verb", VERBS)
def test_every_number_has_two_ends_and_nothing_beyond_is_taken(verb: str) -> None:
    command, root = GROUP.commands[verb], next(cli_reference.contexts()).parent
    for parameter in VERBS[verb]:
        (option,) = parameter.opts
        assert parameter.min is not None and parameter.max is not None, f"{option} has no end"
        assert math.isfinite(parameter.min) and math.isfinite(parameter.max)
        for value in ABSURD:
            if is_legal(parameter, value):
                continue
            with pytest.raises(typer.BadParameter) as caught:
                command.make_context(verb, [f"{option}={value}"], parent=root)
            assert caught.value.exit_code == 2 and option in caught.value.format_message(), (option, value[:40])


@pytest.mark.parametrize(
    "arguments",
    [
        ("benchmark", "b", "--rounds"),
        ("report", "b", "--seconds"),
        ("run", "b", "--source", "demo:", "--duration"),
        ("build", "--calib-images"),
        ("sweep", "--threads"),
        ("finetune", "--out", "x.safetensors", "--rate"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_absurd_number_ends_with_2_before_anything_is_done(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in ("NaN", str(10**30)):
        ran = cli(*arguments, value)
        assert (ran.code, ran.out) == (2, "")
        assert arguments[-1] in ran.err and "Traceback" not in ran.err
    assert list(tmp_path.iterdir()) == []


TEXTS = {
    "--resize": ("0", "-1", str(10**30), "NaN", "99999", "٢٥٦", "²", "", "256.0", MANY_DIGITS),
    "--mean": ("0,0,NaN", "inf,0,0", "0,0,1e400", "٠,٠,٠", "1,2", "1,2,3,4", "", ",,", f"{MANY_DIGITS},0,0"),
    "--std": ("0,1,1", "-1,1,1", "1,1,NaN", "1,inf,1", "1,1,1e400", "١,١,١", "", f"1,1,{MANY_DIGITS}"),
    "--batch": ("0", "-1", str(10**30), "NaN", "1:1", "1:2:65536", "99999", "١", "", "1:1:1:1", MANY_DIGITS),
}


@pytest.mark.parametrize("option", TEXTS)
def test_numbers_within_texts_are_held_to_the_same(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in TEXTS[option]:
        ran = cli("build", "--target", "openvino", f"{option}={value}")
        assert (ran.code, ran.out) == (2, ""), (value[:40], ran.err[-300:])
        assert "Traceback" not in ran.err and len(ran.err) < 1000
        assert option.strip("-") in ran.err
    assert list(tmp_path.iterdir()) == []
