"""Calibrated ranges as a file: readable, tied to one graph and one list of images, refused for any other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from resnest_edge.errors import ScalesError
from resnest_edge.files import read_regular, write_atomically
from resnest_edge.spec import QdqStyle

SCHEMA = 2
_MAX_BYTES = 1 << 28


@dataclass(frozen=True)
class TensorRange:
    """What was seen of one tensor, and the part of it that is kept."""

    minimum: float
    maximum: float
    low: float
    high: float


@dataclass(frozen=True)
class Scales:
    """What calibration learned of a graph: the ranges of its activation tensors, and how its biases are corrected.

    Attributes:
        graph_digest: SHA-256 of the FP32 core graph that was calibrated.
        images_digest: SHA-256 over the digests of the calibration images, in order.
        images: number of calibration images.
        method: how ``low`` and ``high`` were chosen.
        style: the Q/DQ style they were chosen for.
        ranges: per tensor name.
        corrections: per layer, what is taken from its bias, a value for each output channel; empty without correction.
        weight_bits: the width of the weights that ``corrections`` were measured with; None without correction.
    """

    graph_digest: str
    images_digest: str
    images: int
    method: str
    style: QdqStyle
    ranges: Mapping[str, TensorRange]
    corrections: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    weight_bits: int | None = None

    def check_graph(self, graph_digest: str, style: QdqStyle, weight_bits: int) -> None:
        """Refuse scales that belong to something else.

        Raises:
            ScalesError: made for another graph, another Q/DQ style, or weights of another width.
        """
        if self.graph_digest != graph_digest:
            raise ScalesError(
                f"these scales belong to graph {self.graph_digest[:12]}, not to this one ({graph_digest[:12]})",
                hint="Weights, inference form and image size must all be the same; calibrate again.",
            )
        if self.style is not style:
            raise ScalesError(
                f"these scales are for the {self.style} Q/DQ style, this build needs {style}",
                hint="Calibrate again for this target.",
            )
        if self.weight_bits not in (None, weight_bits):
            raise ScalesError(
                f"these bias corrections are for {self.weight_bits}-bit weights, this build writes {weight_bits} bits",
                hint=f"Calibrate again for this target, or build with --weight-bits {self.weight_bits}.",
            )

    def save(self, path: Path) -> None:
        """Write JSON, atomically."""
        value = {"schema": SCHEMA, **asdict(self), "style": self.style.value}
        write_atomically(path, (json.dumps(value, indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Scales:
        """Read what :meth:`save` wrote.

        Raises:
            ScalesError: the file is missing, not JSON, of another schema, or holds impossible ranges.
        """
        try:
            value = json.loads(read_regular(path, _MAX_BYTES).decode("utf-8"))
            if value["schema"] != SCHEMA:
                raise ScalesError(f"schema {value['schema']} is not {SCHEMA}", where=path, hint="Calibrate again.")
            if int(value["images"]) < 1:
                raise ValueError("no image was seen")
            corrections = {str(name): _read_shift(values) for name, values in value["corrections"].items()}
            ranges = {str(name): _read_range(entry) for name, entry in value["ranges"].items()}
            return cls(
                graph_digest=str(value["graph_digest"]),
                images_digest=str(value["images_digest"]),
                images=int(value["images"]),
                method=str(value["method"]),
                style=QdqStyle(value["style"]),
                ranges=ranges,
                corrections=corrections,
                weight_bits=None if value["weight_bits"] is None else int(value["weight_bits"]),
            )
        except (OSError, KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as exc:
            raise ScalesError(f"this is not a scales file ({exc})", where=path, hint="Calibrate again.") from exc


def _read_shift(values: Any) -> tuple[float, ...]:
    shift = tuple(float(value) for value in values)
    if not all(math.isfinite(value) for value in shift):
        raise ValueError("a bias correction is not finite")
    return shift


def _read_range(entry: Mapping[str, Any]) -> TensorRange:
    span = TensorRange(*(float(entry[key]) for key in ("minimum", "maximum", "low", "high")))
    if not all(math.isfinite(end) for end in (span.minimum, span.maximum, span.low, span.high)):
        raise ValueError("a range is not finite")
    if not span.minimum <= span.maximum or not span.low <= span.high:
        raise ValueError("a range ends before it starts")
    return span
