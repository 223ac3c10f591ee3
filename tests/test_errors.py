"""The error tree: as drawn, with the exit code drawn beside each name, and messages that carry what, where and hint."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from resnest_edge import errors
from resnest_edge.errors import InputError, OutputError, ResnestEdgeError

CLASSES: dict[str, type[ResnestEdgeError]] = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, ResnestEdgeError) and kind.__module__ == errors.__name__
}


def drawn_tree() -> dict[str, tuple[str | None, int]]:
    """Per class of the module's docstring: its parent's name and its exit code."""
    tree: dict[str, tuple[str | None, int]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"^([ │├└─]*)(\w+Error) +(\d+)  \S", line):
            depth, name = len(match[1]), match[2]
            above = [entry for entry in above if entry[0] < depth]
            tree[name] = (above[-1][1] if above else None, int(match[3]))
            above.append((depth, name))
    return tree


def test_the_tree_is_as_drawn() -> None:
    actual = {
        name: (kind.__mro__[1].__name__ if kind is not ResnestEdgeError else None, kind.exit_code)
        for name, kind in CLASSES.items()
    }
    assert drawn_tree() == actual
    assert len(actual) == 16


def test_exit_codes_are_the_documented_ones() -> None:
    assert {kind.exit_code for kind in CLASSES.values()} == {1, 2, 3, 4, 70}


@pytest.mark.parametrize(
    ("where", "hint", "text"),
    [
        (None, None, "it is cold"),
        ("north", None, "north: it is cold"),
        (None, "Take a coat.", "it is cold. Take a coat."),
        ("north", "Take a coat.", "north: it is cold. Take a coat."),
    ],
)
def test_message_says_where_what_and_what_next(where: str | None, hint: str | None, text: str) -> None:
    error = InputError("it is cold", where=where, hint=hint)
    assert str(error) == text
    assert (error.what, error.where, error.hint) == ("it is cold", where, hint)


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_errors_cross_a_process_boundary_whole(kind: type[ResnestEdgeError]) -> None:
    """Workers send their errors to the parent pickled; a class whose arguments differ would arrive as a TypeError."""
    error = pickle.loads(pickle.dumps(kind("broken", where="here", hint="Mend it.")))
    assert type(error) is kind
    assert str(error) == "here: broken. Mend it."


def test_where_may_be_any_object() -> None:
    assert OutputError("full", where=3).where == "3"
