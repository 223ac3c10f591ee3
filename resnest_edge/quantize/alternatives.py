"""The ways a target's placement can be varied, each with a word: what `tune` measures when it may cost accuracy.

A word is ``AXIS=WAY``; a placement is told as the words in which it departs from the target's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from resnest_edge.errors import UsageError
from resnest_edge.quantize.placement import ELEMENTWISE, FUSING, POOLS, Placement

_Way = Callable[[Placement, Sequence[str]], Placement]


def _keep(placement: Placement, layer: str) -> Placement:
    return replace(placement, keep_float=placement.keep_float | {layer})


AXES: Mapping[str, Mapping[str, _Way]] = {
    "outputs": {
        "none": lambda placement, _: replace(placement, outputs=False, output_readers=None),
        "fusing": lambda placement, _: replace(placement, outputs=True, output_readers=FUSING),
        "all": lambda placement, _: replace(placement, outputs=True, output_readers=None),
    },
    "elementwise": {
        "none": lambda placement, _: replace(placement, elementwise=frozenset()),
        "pools": lambda placement, _: replace(placement, elementwise=POOLS),
        "all": lambda placement, _: replace(placement, elementwise=ELEMENTWISE),
    },
    "first": {"float": lambda placement, layers: _keep(placement, layers[0])},
    "last": {"float": lambda placement, layers: _keep(placement, layers[-1])},
}
"""Per axis, its ways.

- ``outputs``: Q/DQ behind quantized layers: nowhere, where all readers fuse (:data:`FUSING`), or everywhere;
- ``elementwise``: what else runs in INT8: nothing, pools, or pools, sums and products;
- ``first``, ``last``: the first convolution, the classifier, in float.
"""


def words() -> list[str]:
    """Every word, axis by axis."""
    return [f"{axis}={way}" for axis, ways in AXES.items() for way in ways]


def axis_of(word: str) -> str:
    """The axis that a word lies on."""
    return word.partition("=")[0]


def vary(placement: Placement, chosen: Iterable[str], layers: Sequence[str]) -> Placement:
    """A placement varied as words say.

    Args:
        placement: the target's own.
        chosen: words, one an axis at most.
        layers: names of the network's weighted layers, in graph order.

    Raises:
        UsageError: an unknown word, or two of one axis.
    """
    taken: set[str] = set()
    for word in chosen:
        axis, _, way = word.partition("=")
        if way not in AXES.get(axis, {}) or axis in taken:
            raise UsageError(f"placement {word!r} is not known, or not the only one of its kind")
        taken.add(axis)
        placement = AXES[axis][way](placement, layers)
    return placement
