"""Scales files: mutated JSON, read, and saved again where they are taken."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from resnest_edge.calibration.deltas import pack_deltas
from resnest_edge.calibration.scales import SCHEMA, Scales, TensorRange
from resnest_edge.errors import ScalesError
from resnest_edge.spec import Precision, QdqStyle
from tests.fuzz.junk import alike, damage, dump, junk, mutate_json
from tests.fuzz.outcome import Outcome

_PLAIN = Scales(
    "a" * 64,
    "b" * 64,
    512,
    "mse",
    QdqStyle.PORTABLE,
    {"images": TensorRange(-2.1, 2.6, -2.0, 2.5), "conv1": TensorRange(0.0, 9.0, 0.0, 8.0)},
    {"conv1": (0.25, -0.5), "fc": (0.0,)},
    8,
    "mse",
    {
        "conv1.weight": pack_deltas(np.array([0, 1, 0, -1, 0, 0], np.int8)),
        "fc.weight": pack_deltas(np.zeros(3, np.int8)),
    },
    Precision.FP16,
)
_UNCORRECTED = Scales("c" * 64, "d" * 64, 1, "max", QdqStyle.CPU, {"x": TensorRange(-1.0, 1.0, -1.0, 1.0)})


class ScalesFiles:
    """A reader to fuzz: files that :meth:`Scales.save` wrote, mutated."""

    name = "scales"

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._path, self._again = folder / "scales.json", folder / "again.json"
        self._values = [_value(scales) for scales in (_PLAIN, _UNCORRECTED)]

    def check(self, random: Random) -> tuple[bytes, Outcome]:
        """Write one mutated file, and load it."""
        value = random.choice(self._values)
        data = damage(dump(value), random) if random.random() < 0.15 else dump(_mutate(value, random))
        self._path.write_bytes(data)
        return data, self._read(data)

    def _read(self, data: bytes) -> Outcome:
        try:
            parsed = isinstance(json.loads(data), dict)
        except (ValueError, RecursionError):
            parsed = False
        try:
            scales = Scales.load(self._path)
        except ScalesError:
            return Outcome.REFUSED if parsed else Outcome.UNPARSED
        assert all(scales.deltas(weight) is not None for weight in scales.rounding)
        assert scales.images >= 1 and all(span.low <= span.high for span in scales.ranges.values())
        dump({**asdict(scales), "style": scales.style.value})
        scales.save(self._again)
        assert Scales.load(self._again) == scales
        return Outcome.ACCEPTED


def _value(scales: Scales) -> dict[str, Any]:
    return {"schema": SCHEMA, **asdict(scales), "style": scales.style.value}


def _mutate(value: dict[str, Any], random: Random) -> Any:
    if random.random() < 0.02:
        return junk(random)
    if random.random() < 0.3:  # numbers alone: what the checks of ranges are for
        spans = value["ranges"].items()
        ranges = {name: {key: alike(end, random) for key, end in span.items()} for name, span in spans}
        return {**value, "ranges": ranges}
    return mutate_json(value, random)
