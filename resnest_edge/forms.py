"""The exactly equal inference forms of a ResNeSt as values; their algebra is in ``models/inference_form.py``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from resnest_edge.errors import UsageError

_EARLY_POOL = "early-pool"


class StageForm(str, Enum):
    """How the split-attention convolution of R·K groups (R = radix, K = cardinality) is written in one stage.

    ``SPLIT``: R convolutions of K groups; ``SPLIT_DENSE``: R convolutions of one group; ``GROUPED``: one convolution
    of R·K groups; ``DENSE``: one of one group. Where groups are joined, the weight is zero outside their blocks.
    """

    SPLIT = "split"
    SPLIT_DENSE = "split-dense"
    GROUPED = "grouped"
    DENSE = "dense"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Form:
    """An inference form of a whole network; all are equal to each other in exact arithmetic.

    Written ``split``, or ``split/split/grouped/dense`` where the stages differ, with ``+early-pool`` behind it.

    Attributes:
        stages: form of stages 1 to 4.
        early_pool: blocks that halve the map with an average pool behind the split attention pool each split before
            the gate weights it: R pools instead of one, and a quarter of the positions to weight.
    """

    stages: tuple[StageForm, StageForm, StageForm, StageForm]
    early_pool: bool = False

    SPLIT: ClassVar[Form]
    SPLIT_DENSE: ClassVar[Form]
    GROUPED: ClassVar[Form]
    DENSE: ClassVar[Form]

    def __str__(self) -> str:
        names = [str(stage) for stage in self.stages]
        return ("/".join(names) if len(set(names)) > 1 else names[0]) + (f"+{_EARLY_POOL}" if self.early_pool else "")

    @classmethod
    def parse(cls, text: str) -> Form:
        """Read one stage form for all stages, or four joined by ``/`` or ``,``; then perhaps ``+early-pool``.

        Raises:
            UsageError: anything else.
        """
        stages, plus, pool = text.partition("+")
        names = re.split("[/,]", stages)
        known = {str(stage): stage for stage in StageForm}
        if len(names) not in (1, 4) or not set(names) <= known.keys() or (plus and pool != _EARLY_POOL):
            raise UsageError(
                f"form {text!r} is not known",
                hint=f"Use one of {', '.join(known)}, or one for each of the four stages, such as "
                f"split/split/grouped/dense; +{_EARLY_POOL} behind it pools before the gate.",
            )
        first, second, third, fourth = (known[name] for name in (names * 4 if len(names) == 1 else names))
        return cls((first, second, third, fourth), bool(plus))


Form.SPLIT, Form.SPLIT_DENSE, Form.GROUPED, Form.DENSE = (Form.parse(str(stage)) for stage in StageForm)

UNIFORM = (Form.SPLIT, Form.SPLIT_DENSE, Form.GROUPED, Form.DENSE)
"""The forms in which all stages are alike."""
