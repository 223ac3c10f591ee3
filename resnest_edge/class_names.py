"""The names of a model's classes as a text file: UTF-8, one a line, in class order."""

from __future__ import annotations

from collections.abc import Sequence

from resnest_edge.errors import InputError


def encode_names(names: Sequence[str]) -> bytes:
    """The file's bytes.

    Raises:
        InputError: a name holds a line break, or bytes that are no UTF-8 (a folder can be named so).
    """
    for name in names:
        if "\n" in name or "\r" in name:
            raise InputError(f"the class name {name!r} holds a line break", hint="Rename its folder.")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise InputError(f"the class name {name!r} is not UTF-8", hint="Rename its folder.")
    return "".join(f"{name}\n" for name in names).encode("utf-8")


def decode_names(data: bytes) -> tuple[str, ...]:
    """Inverse of :func:`encode_names`.

    Raises:
        InputError: this is no UTF-8, or its last line does not end.
    """
    try:
        *names, rest = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as exc:
        raise InputError("the class names are not UTF-8") from exc
    if rest:
        raise InputError("the class names end in the middle of a line")
    return tuple(names)
