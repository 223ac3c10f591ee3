"""What `tune` chooses: the inference form, and how the placement of INT8 departs from the target's own."""

from __future__ import annotations

from dataclasses import dataclass

from resnest_edge.quantize.alternatives import axis_of
from resnest_edge.spec import Form


@dataclass(frozen=True)
class Choice:
    """One way to write a network for a target.

    Attributes:
        form: inference form.
        placement: words of :mod:`resnest_edge.quantize.alternatives`, one an axis, sorted; none is the target's own.
    """

    form: Form = Form.SPLIT
    placement: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([str(self.form), *self.placement])

    def placed(self, word: str) -> Choice:
        """The same with one word more, in the place of another of its axis."""
        others = [other for other in self.placement if axis_of(other) != axis_of(word)]
        return Choice(self.form, tuple(sorted([*others, word])))
