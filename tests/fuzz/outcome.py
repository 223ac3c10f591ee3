"""What becomes of a fuzzed input, and what a reader to fuzz is."""

from __future__ import annotations

from enum import Enum
from random import Random
from typing import Protocol


class Outcome(Enum):
    """How far an input came: stopped by the first parser, refused behind it, or taken."""

    UNPARSED = "unparsed"
    REFUSED = "refused"
    ACCEPTED = "accepted"


class Reader(Protocol):
    """One reader, with the valid files that its inputs are mutations of."""

    name: str

    def check(self, random: Random) -> tuple[bytes, Outcome]:
        """Make one input and read it; any error but the documented one escapes, which is what fuzzing looks for."""
        ...
