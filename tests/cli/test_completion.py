"""Shell completion, asked as the shell asks: the program in a process, the words typed so far in its environment."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from resnest_edge.spec import Precision, Target
from scripts import cli_reference

COMMANDS = {context.command_path.split()[1]: context for context in cli_reference.contexts()}


def completed(*words: str) -> set[str]:
    """What bash would offer for the last word."""
    environment = {
        **os.environ,
        "_RESNEST_EDGE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("resnest-edge", *words)),
        "COMP_CWORD": str(len(words)),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "resnest_edge"], capture_output=True, text=True, env=environment, check=False
    )
    assert ran.stderr == ""
    return set(ran.stdout.split())


def test_commands_are_completed() -> None:
    assert completed("") >= set(COMMANDS)
    assert completed("ins") == {"inspect"}


def test_choices_are_completed() -> None:
    assert completed("build", "--precision", "") == {precision.value for precision in Precision}
    assert completed("build", "--form", "split") == completed("sweep", "--form", "split") == {"split", "split-dense"}
    assert completed("build", "--target", "tensor") == {Target.TENSORRT.value, Target.TENSORRT_RTX.value}


def test_options_are_completed() -> None:
    assert completed("evaluate", "--ref") == {"--reference"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_the_shell_is_shown(shell: str) -> None:
    environment = {**os.environ, "_RESNEST_EDGE_COMPLETE": f"source_{shell}"}
    ran = subprocess.run(
        [sys.executable, "-m", "resnest_edge"], capture_output=True, text=True, env=environment, check=False
    )
    assert ran.returncode == 0 and "_RESNEST_EDGE_COMPLETE" in ran.stdout and "resnest" in ran.stdout
