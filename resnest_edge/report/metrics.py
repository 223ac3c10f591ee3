"""What two reports can be compared by: each metric, which way is better, and what must be equal to compare it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from resnest_edge.report.schema import Row

ACCURACY, SPEED, SIZE = "accuracy", "speed", "size"


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as ``--fail-on`` calls it.
        heading: as a table calls it.
        kind: ``accuracy`` needs the same pictures, ``speed`` the same machine and plan; each needs the same model.
        unit: of its values.
        larger_is_better: which way is better.
        points: whether a change is in units only, because a percentage of it would be misread.
        against_reference: whether the reference itself has none.
        of_row: reads it from an engine's row; None where it is of a cell.
        of_cell: reads it from the benchmark's result of one batch size and number of streams; None where it is of a
            row.
    """

    name: str
    heading: str
    kind: str
    unit: str
    larger_is_better: bool
    points: bool = False
    against_reference: bool = False
    of_row: Callable[[Row], float | None] | None = None
    of_cell: Callable[[Mapping[str, Any]], float | None] | None = None

    def worse_by(self, old: float, new: float) -> float:
        """How much worse it became, in its unit; negative where it became better."""
        return old - new if self.larger_is_better else new - old


def _latency(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda result: result["latency_ms"].get(name)


def _key(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda result: result.get(name)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("drop", "Top-1", ACCURACY, "%", True, points=True, of_row=lambda row: row.top1),
        Metric("top5", "Top-5", ACCURACY, "%", True, points=True, of_row=lambda row: row.top5),
        Metric("agreement", "Agreement", ACCURACY, "%", True, True, True, of_row=lambda row: row.agreement),
        Metric("sqnr", "Logit SQNR", ACCURACY, "dB", True, True, True, of_row=lambda row: row.logit_sqnr_db),
        Metric("latency", "Median latency", SPEED, "ms", False, of_cell=_latency("p50")),
        Metric("latency-mean", "Mean latency", SPEED, "ms", False, of_cell=_latency("mean")),
        Metric("latency-p90", "p90 latency", SPEED, "ms", False, of_cell=_latency("p90")),
        Metric("latency-p95", "p95 latency", SPEED, "ms", False, of_cell=_latency("p95")),
        Metric("latency-p99", "p99 latency", SPEED, "ms", False, of_cell=_latency("p99")),
        Metric("throughput", "Throughput", SPEED, "img/s", True, of_cell=_key("images_per_second")),
        Metric("memory", "Memory", SPEED, "MiB", False, of_cell=_key("peak_rss_mib")),
        Metric("power", "Power", SPEED, "W", False, of_cell=_key("power_w")),
        Metric("efficiency", "Efficiency", SPEED, "img/J", True, of_cell=_key("images_per_joule")),
        Metric("size", "Engine size", SIZE, "MiB", False, of_row=lambda row: row.size_mib),
    )
}
"""Every metric by the name that ``--fail-on`` gives it; ``drop`` is the loss of top-1 from the old to the new."""

SHOWN = ("drop", "agreement", "latency", "latency-p99", "throughput", "size")
"""Those that a table shows unasked, where they changed; the JSON holds all."""
