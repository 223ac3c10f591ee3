"""The command as its reader can repeat it."""

from __future__ import annotations

import os
import shlex
import sys

DATA_VARIABLE = "RESNEST_EDGE_DATA"


def typed_command() -> str:
    """What the user typed, with the folder of photographs as the variable that names it: no path of this machine."""
    return " ".join(["resnest-edge", *(_word(word) for word in sys.argv[1:])])


def _word(word: str) -> str:
    root = os.environ.get(DATA_VARIABLE, "").rstrip("/")
    if root and (word == root or word.startswith(root + "/")):
        return f'"${DATA_VARIABLE}{word[len(root) :]}"'
    return shlex.quote(word)
