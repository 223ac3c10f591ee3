"""How long work tells of itself: a stage's name, how much is done, and how much there is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, "int | None"], None]
"""Called with (stage, done, total); total is None while it is not known. ``done == total`` ends a stage."""


def silent(stage: str, done: int, total: int | None) -> None:
    """Tell nobody."""
