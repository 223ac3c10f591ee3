"""The CLI reference: generated, current, and whole."""

from __future__ import annotations

import shlex

import pytest

from scripts import cli_reference

VERBS = (
    "doctor models export calibrate build finetune evaluate benchmark sensitivity sweep "
    "tune inspect report run package keygen sign verify cache"
)
COMMANDS = {context.command_path: context for context in cli_reference.contexts()}


def test_the_verbs_are_the_documented_ones() -> None:
    assert {path.split()[1] for path in COMMANDS} == set(VERBS.split())


def test_the_page_is_current() -> None:
    page = cli_reference.REFERENCE.read_text(encoding="utf-8")
    assert page == cli_reference.render(), "docs/cli.md is stale: python scripts/cli_reference.py"


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_has_help_an_example_and_a_section(path: str) -> None:
    text = cli_reference.help_text(COMMANDS[path])
    assert text.partition("\n")[0].endswith("."), "the first line says what the command does"
    examples = [line.strip().removeprefix("$ ") for line in text.splitlines() if line.lstrip(" $").startswith(path)]
    assert examples, f"no example line starts with `{path}`"
    assert f"\n## {path}\n" in cli_reference.render()


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_has_help_and_json_is_everywhere(path: str) -> None:
    context = COMMANDS[path]
    records = [parameter.get_help_record(context) for parameter in context.command.params]
    assert [record for record in records if record and not record[1].strip()] == []
    assert any("--json" in parameter.opts for parameter in context.command.params)


@pytest.mark.parametrize("path", COMMANDS)
def test_examples_name_options_that_exist(path: str) -> None:
    options = COMMANDS[path].command.params
    known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
    for line in cli_reference.help_text(COMMANDS[path]).splitlines():
        if line.lstrip(" $").startswith(path):
            words = shlex.split(line, comments=True)
            assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known
