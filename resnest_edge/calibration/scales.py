"""Calibrated ranges as a file: readable, tied to one graph and one list of images, refused for any other."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.calibration.deltas import unpack_deltas
from resnest_edge.errors import ScalesError
from resnest_edge.files import read_regular, write_atomically
from resnest_edge.spec import Precision, QdqStyle

SCHEMA = 3
WEIGHT_SCALES = ("max", "mse")
"""How scales of weights may be chosen: by a channel's largest weight, or by its least squared error."""
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
    """What calibration learned of a graph: the ranges of its tensors, how its weights round, how its biases shift.

    Attributes:
        graph_digest: SHA-256 of the FP32 core graph that was calibrated.
        images_digest: SHA-256 over the digests of the calibration images, in order.
        images: number of calibration images.
        method: how ``low`` and ``high`` were chosen.
        style: the Q/DQ style they were chosen for.
        ranges: per tensor name.
        corrections: per layer, what is taken from its bias, a value for each output channel; empty without correction.
        weight_bits: the width of the weights that ``corrections`` and ``rounding`` were measured with; None without.
        weight_scales: how the scales of weights are chosen, ``max`` or ``mse``.
        rounding: per weight, what is added to its nearest integers, as ``calibration.deltas`` packs it; empty where all
            weights round to nearest.
        float_type: the number format that the weights' scales had when they were rounded; None without ``rounding``.
    """

    graph_digest: str
    images_digest: str
    images: int
    method: str
    style: QdqStyle
    ranges: Mapping[str, TensorRange]
    corrections: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    weight_bits: int | None = None
    weight_scales: str = "max"
    rounding: Mapping[str, str] = field(default_factory=dict)
    float_type: Precision | None = None

    def check_graph(self, graph_digest: str, style: QdqStyle, weight_bits: int, float_type: Precision) -> None:
        """Refuse scales that belong to something else.

        Raises:
            ScalesError: made for another graph, another Q/DQ style, weights of another width, or weight scales that
                ``float_type`` does not hold.
        """
        if self.graph_digest != graph_digest:
            raise ScalesError(
                f"these scales belong to graph {self.graph_digest[:12]}, not to this one ({graph_digest[:12]})",
                hint="Weights, inference form, image size and --equalize must all be the same; calibrate again.",
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
        if self.float_type not in (None, float_type) and float_type is not Precision.FP32:
            raise ScalesError(
                f"these weights were rounded between {self.float_type}, this build writes {float_type}",
                hint="Calibrate again for this target, or with --no-round-weights.",
            )

    def deltas(self, weight: str) -> npt.NDArray[np.int8] | None:
        """What is added to a weight's nearest integers, flat; None where it rounds to nearest."""
        packed = self.rounding.get(weight)
        return None if packed is None else unpack_deltas(packed)

    def digest(self) -> str:
        """SHA-256, in hex, of everything in it: two of the same digest make the same typed graph."""
        return hashlib.sha256(json.dumps(self._to_json(), sort_keys=True).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write JSON, atomically."""
        write_atomically(path, (json.dumps(self._to_json(), indent=1) + "\n").encode())

    def _to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}

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
                weight_scales=_read_word(value["weight_scales"], WEIGHT_SCALES),
                rounding={str(name): _read_deltas(text) for name, text in value["rounding"].items()},
                float_type=None if value["float_type"] is None else Precision(value["float_type"]),
            )
        except (OSError, KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as exc:
            raise ScalesError(f"this is not a scales file ({exc})", where=path, hint="Calibrate again.") from exc


def _read_shift(values: Any) -> tuple[float, ...]:
    shift = tuple(float(value) for value in values)
    if not all(math.isfinite(value) for value in shift):
        raise ValueError("a bias correction is not finite")
    return shift


def _read_word(value: Any, words: tuple[str, ...]) -> str:
    if value not in words:
        raise ValueError(f"{value!r} is not one of {', '.join(words)}")
    return str(value)


def _read_deltas(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError("rounded weights are not text")
    unpack_deltas(text)
    return text


def _read_range(entry: Mapping[str, Any]) -> TensorRange:
    span = TensorRange(*(float(entry[key]) for key in ("minimum", "maximum", "low", "high")))
    if not all(math.isfinite(end) for end in (span.minimum, span.maximum, span.low, span.high)):
        raise ValueError("a range is not finite")
    if not span.minimum <= span.maximum or not span.low <= span.high:
        raise ValueError("a range ends before it starts")
    return span
