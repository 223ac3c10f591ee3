"""docs/jetson.md: nobody here can run it on a Jetson, so at least its commands and names have to exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import resnest_edge
from resnest_edge.measure.power_sources import MODULE_RAILS
from scripts import cli_reference

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "jetson.md").read_text(encoding="utf-8")
COMMANDS = [line.strip() for line in PAGE.replace("\\\n", " ").splitlines() if re.match(r" {4}resnest-edge ", line)]
OPTIONS = {
    context.command_path.split()[1]: {name for option in context.command.params for name in option.opts}
    for context in cli_reference.contexts()
}


def test_the_page_walks_through_every_step() -> None:
    assert {command.split()[1] for command in COMMANDS} == {
        "export",
        "doctor",
        "build",
        "inspect",
        "evaluate",
        "benchmark",
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_name_verbs_and_options_that_exist(command: str) -> None:
    _, verb, *words = shlex.split(command, comments=True)
    assert {word for word in words if word.startswith("--")} <= OPTIONS[verb]


def test_options_in_its_prose_exist() -> None:
    known = {option for options in OPTIONS.values() for option in options}
    others = {"--system-site-packages", "--upgrade", "--show"}  # of venv, pip and jetson_clocks
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE))
    assert named <= known | others


def test_its_python_uses_the_public_api() -> None:
    for name in re.findall(r"resnest_edge\.(\w+)", PAGE):
        assert name in resnest_edge.__all__


def test_its_rails_are_those_that_are_added_up() -> None:
    for rails in MODULE_RAILS[:3]:
        assert f"`{' + '.join(rails)}`" in PAGE


def test_it_says_that_no_jetson_has_run_it() -> None:
    assert "**This has not been run on a Jetson.**" in PAGE
