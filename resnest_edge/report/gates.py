"""``--fail-on``: lines that a comparison must not cross, such as ``drop>0.3,latency>5%``."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass

from resnest_edge.errors import UsageError
from resnest_edge.report.metrics import METRICS, Metric

_GATE = re.compile(r"([a-z0-9-]+)\s*>\s*([0-9]+(?:\.[0-9]+)?)\s*(%?)")
_EXAMPLE = "For example --fail-on 'drop>0.3,latency>5%', in quotes: a bare > writes a file."


@dataclass(frozen=True)
class Gate:
    """One line.

    Attributes:
        metric: what is held to it.
        limit: by how much it may become worse.
        percent: whether ``limit`` is a percentage of the old value, not in the metric's own unit.
    """

    metric: Metric
    limit: float
    percent: bool

    def __str__(self) -> str:
        return f"{self.metric.name}>{self.limit:g}{'%' if self.percent else ''}"

    def crossed(self, old: float, new: float) -> bool:
        """Whether the metric became worse by more than the limit."""
        worse = self.metric.worse_by(old, new)
        if not self.percent:
            return worse > self.limit
        return worse > 0 if old == 0 else 100 * worse / abs(old) > self.limit


def parse_gates(text: str) -> tuple[Gate, ...]:
    """Read ``METRIC>LIMIT``, several separated by commas; ``%`` means of the old value.

    Raises:
        UsageError: something else, a metric nobody knows, one named twice, or a percentage of an accuracy.
    """
    gates = tuple(_parse(part.strip()) for part in text.split(","))
    names = [gate.metric.name for gate in gates]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"--fail-on names {', '.join(twice)} twice", hint="Give one limit for each metric.")
    return gates


def _parse(part: str) -> Gate:
    found = _GATE.fullmatch(part)
    if found is None:
        raise UsageError(f"--fail-on {part!r} is not METRIC>LIMIT", hint=_EXAMPLE)
    name, limit, percent = found.group(1), float(found.group(2)), bool(found.group(3))
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Use one of {', '.join(METRICS)}."
        raise UsageError(f"--fail-on knows no metric {name!r}", hint=hint)
    if not math.isfinite(limit):
        raise UsageError(f"--fail-on {part!r} has no finite limit", hint=_EXAMPLE)
    metric = METRICS[name]
    if percent and metric.points:
        unit = "dB" if metric.unit == "dB" else "percentage points"
        raise UsageError(f"{name} is held in {unit}, not in percent", hint=f"Write {name}>{limit:g}.")
    return Gate(metric, limit, percent)
