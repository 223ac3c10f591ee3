"""Values that readers trip over, and the mutations that every format has in common."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

TEXTS = (
    "",
    " ",
    ".",
    "..",
    "../../etc/passwd",
    "/dev/zero",
    "a/b",
    "a\\b",
    "a\0b",
    "\n",
    "\t",
    "\ufeff",
    "\u2028",
    "ü" * 40,
    "\ud800",
    "x" * 5000,
    "%s%n",
    "[red]",
    "{}",
    "NaN",
    "null",
    "0",
    "-1",
    "1e309",
    "9" * 5000,
)
NUMBERS = (0, 1, -1, 2, 7, 8, 255, 65536, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, 2**63, 10**40)
FLOATS = (0.0, -0.0, 0.5, -1.5, 1e-320, 1e308, -1e308, 1e-7)
BEYOND = (float("nan"), float("inf"), float("-inf"))
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": 0}, [1, 2, 3])


def junk(random: Random) -> Any:
    """A value of any kind."""
    kind = random.choices((TEXTS, NUMBERS, FLOATS, BEYOND, OTHERS), (4, 4, 3, 1, 3))[0]
    return copy.deepcopy(random.choice(kind))


def alike(value: Any, random: Random) -> Any:
    """Another value of the same kind: what a check of types alone lets pass."""
    if isinstance(value, bool) or value is None:
        return random.choice((True, False, None))
    if isinstance(value, int):
        return random.choice(NUMBERS) if random.random() < 0.4 else value + random.randrange(-1000, 1000)
    if isinstance(value, float):
        return random.choice(FLOATS) if random.random() < 0.4 else value * random.choice((-1.0, 1e30, random.random()))
    if isinstance(value, str):
        return text_like(value, random)
    return copy.deepcopy(value)


def text_like(text: str, random: Random) -> str:
    """A text one edit away, or one that readers trip over."""
    if not text or random.random() < 0.4:
        return random.choice(TEXTS)
    at = random.randrange(len(text))
    other = random.choice((*"0aZ \t/.\0ß", chr(random.randrange(32, 0xD800))))
    edits = (text[:at], text[at:], text + text, text[:at] + other + text[at:], text[:at] + other + text[at + 1 :])
    return random.choice((*edits, text.upper()))


def mutate_json(value: Any, random: Random) -> Any:
    """A copy with one to three changes anywhere in it: values of the same kind mostly, keys dropped, renamed, moved."""
    value = copy.deepcopy(value)
    for _ in range(random.choice((1, 2, 3, 4))):
        _change(random.choice(_holders(value) or [[]]), random)
    return value


def _holders(value: Any) -> list[Any]:
    """Every object and list that holds something, at any depth."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [*([value] if items else []), *(holder for item in items for holder in _holders(item))]


def _change(holder: Any, random: Random) -> None:
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    if not keys:
        return
    key, other = random.choice(keys), random.choice(keys)
    action = random.random()
    if action < 0.5:
        holder[key] = alike(holder[key], random)
    elif action < 0.7:
        holder[key] = junk(random)
    elif action < 0.8:
        holder[key], holder[other] = holder[other], holder[key]
    elif action < 0.9:
        del holder[key]
    elif isinstance(holder, dict):
        holder[random.choice(TEXTS)] = holder[key] if random.random() < 0.5 else junk(random)
    else:
        holder.insert(key, junk(random))


def damage(data: bytes, random: Random) -> bytes:
    """What a disk or a copy does: cut short, bits flipped, a part twice, a part gone, something before or behind."""
    if not data:
        return b"\0"
    at, end = sorted((random.randrange(len(data)), random.randrange(len(data))))
    flipped = bytearray(data)
    for _ in range(random.choice((1, 1, 4, 32))):
        flipped[random.randrange(len(data))] ^= 1 << random.randrange(8)
    parts = (data[:at], data[:end] + data[at:], data[:at] + data[end:], b"\xef\xbb\xbf" + data, data + b"\0")
    return random.choice((*parts, bytes(flipped), bytes(flipped)))


def dump(value: Any) -> bytes:
    """JSON as other programs write it: NaN and Infinity included."""
    return json.dumps(value).encode()
