"""From plain JSON values to frozen dataclasses, by their annotations: every value checked, unknown keys ignored."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

_Kind = TypeVar("_Kind")
_MOST = 2**63 - 1


def from_plain(kind: type[_Kind], value: Any, where: str = "") -> _Kind:
    """Build a dataclass from a JSON object.

    Args:
        kind: a dataclass of plain values: numbers, text, tuples, mappings from text, and such dataclasses.
        value: what `json.loads` gave.
        where: the place of ``value``, for messages.

    Raises:
        KeyError: a key is missing.
        TypeError: a value is of another type than its annotation says.
        ValueError: a number is not finite or does not fit 64 bits, or a tuple of another length.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{where or kind.__name__} is {_type(value)}, not an object")
    hints = get_type_hints(kind)
    names = [field.name for field in fields(cast(Any, kind))]
    return kind(**{name: _convert(hints[name], value[name], f"{where}.{name}".lstrip(".")) for name in names})


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        (only,) = (option for option in inner if option is not type(None))
        return _convert(only, value, where)
    if origin is tuple:
        return _convert_list(inner, value, where)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise TypeError(f"{where} is {_type(value)}, not an object")
        return {key: _convert(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if is_dataclass(hint):
        return from_plain(cast(Any, hint), value, where)
    return value if hint is Any else _scalar(hint, value, where)


def _convert_list(inner: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{where} is {_type(value)}, not a list")
    open_ended = len(inner) == 2 and inner[1] is Ellipsis
    hints = [inner[0]] * len(value) if open_ended else list(inner)
    if len(value) != len(hints):
        raise ValueError(f"{where} has {len(value)} items, not {len(hints)}")
    return tuple(
        _convert(hint, item, f"{where}[{place}]") for place, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _scalar(hint: type, value: Any, where: str) -> Any:
    accepted = (int, float) if hint is float else hint
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise TypeError(f"{where} is {_type(value)}, not {hint.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is not finite")
    if isinstance(value, int) and not -_MOST <= value <= _MOST:
        raise ValueError(f"{where} has more digits than any figure here")
    return value


def _type(value: Any) -> str:
    return "null" if value is None else type(value).__name__
