"""The commands that README.md and docs/ show: each names a verb and options that exist, with values that they take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from resnest_edge.cli.app import app
from scripts import cli_reference

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "cli.md")]
SHOWN = re.compile(r"^(?: {4}|(?:[a-z]+)?\$ +)resnest-edge (?P<words>.*)$", re.MULTILINE)
SYNOPSIS = re.compile(r"…|\[|\|")  # stands for commands, and is none

GROUP: Any = typer.main.get_command(app)
(ROOT_CONTEXT,) = {id(context.parent): context.parent for context in cli_reference.contexts()}.values()


def commands(text: str) -> list[str]:
    """What follows ``resnest-edge`` in every command of a page, with its continuation lines."""
    whole = text.replace("\\\n", " ")
    return [found["words"] for found in SHOWN.finditer(whole) if not SYNOPSIS.search(found["words"])]


def parse(command: str) -> None:
    verb, *words = shlex.split(command, comments=True)
    GROUP.commands[verb].make_context(verb, words, parent=ROOT_CONTEXT)


def shown() -> list[Any]:
    return [
        pytest.param(command, id=f"{page.name}: {' '.join(command.split())[:60]}")
        for page in PAGES
        for command in dict.fromkeys(commands(page.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize("command", shown())
def test_a_command_on_a_page_can_be_typed(command: str) -> None:
    parse(command)


def test_most_verbs_are_shown_and_found() -> None:
    found = {command.values[0].split()[0] for command in shown()}
    assert len(shown()) >= 25
    assert found >= {"doctor", "models", "build", "evaluate", "benchmark", "report", "sweep", "run", "package", "sign"}


@pytest.mark.parametrize(
    "command", ["build --nonsense", "build --precision int9", "evaluate engines/int8", "report a.json --rounds 0"]
)
def test_what_cannot_be_typed_is_found(command: str) -> None:
    with pytest.raises(typer.TyperException) as caught:
        parse(command)
    assert caught.value.exit_code == 2
