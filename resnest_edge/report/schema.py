"""``report.json``: what was measured, as plain values. Every page of a report is a pure function of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from resnest_edge.errors import InputError

SCHEMA = 1
JSON_NAME = "report.json"


@dataclass(frozen=True)
class Row:
    """One engine. What was not measured is None.

    Attributes:
        bundle: name.
        target: the runtime.
        precision: of the typed graph.
        precision_run: what the engine's convolutions really run in.
        form: inference form of the split-attention blocks.
        images: images that accuracy was measured on.
        top1: percent.
        top1_ci95: its 95 % interval.
        top5: percent.
        drop: top-1 lost against the reference, in percentage points: positive when accuracy is lost.
        drop_ci95: its 95 % interval.
        agreement: percent of images on which it names the reference's class.
        logit_sqnr_db: signal to noise of its logits against the reference's; None when ``logits_identical``.
        logits_identical: whether its logits equal the reference's.
        reason: why an accuracy is missing.
        latency_ms: mean, p50, p90, p95, p99 at ``latency_batch`` and ``latency_streams``.
        latency_batch: the smallest batch size measured.
        latency_streams: the fewest streams measured.
        speedup: times the reference's throughput at that batch and streams: median, min, q25, q75, max over rounds.
        images_per_second: the best of all batch sizes and streams.
        throughput_batch: the batch size it was reached at.
        throughput_streams: the streams it was reached at.
        size_mib: of the engine's files.
        peak_rss_mib: most memory its process held while it was measured.
    """

    bundle: str
    target: str
    precision: str
    precision_run: str | None = None
    form: str | None = None
    images: int | None = None
    top1: float | None = None
    top1_ci95: tuple[float, float] | None = None
    top5: float | None = None
    drop: float | None = None
    drop_ci95: tuple[float, float] | None = None
    agreement: float | None = None
    logit_sqnr_db: float | None = None
    logits_identical: bool | None = None
    reason: str | None = None
    latency_ms: Mapping[str, float] | None = None
    latency_batch: int | None = None
    latency_streams: int | None = None
    speedup: Mapping[str, float] | None = None
    images_per_second: float | None = None
    throughput_batch: int | None = None
    throughput_streams: int | None = None
    size_mib: float | None = None
    peak_rss_mib: float | None = None


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes:
        title: what it is about.
        created: when, ISO 8601 with a time zone.
        demo: whether the embedded demo model was measured, which says nothing of a real one.
        rows: the engines; the first is the reference of every drop and ratio.
        benchmark: the raw results of ``benchmark --json``.
        ratios: its ratios.
        conditions: its conditions.
        warnings: what makes the figures doubtful, as sentences.
        environment: machine and versions.
        commands: what to type to measure this again.
        notes: anything else, as sentences.
    """

    title: str
    created: str
    demo: bool
    rows: tuple[Row, ...]
    benchmark: tuple[Mapping[str, Any], ...] = ()
    ratios: tuple[Mapping[str, Any], ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, the schema version first."""
        return {"schema": SCHEMA, **asdict(self)}

    def dumps(self) -> str:
        """The text of ``report.json``.

        Raises:
            InputError: a value is NaN, infinite, or nothing JSON knows.
        """
        try:
            return json.dumps(self.to_json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        except (ValueError, TypeError) as exc:
            raise InputError(f"the report holds a value that JSON cannot: {exc}") from exc


def load_report(path: Path) -> Report:
    """Read a ``report.json``. Keys this version does not know are ignored.

    Raises:
        InputError: the file is missing, not JSON, of another schema, or lacks a key.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        if value["schema"] != SCHEMA:
            raise InputError(
                f"this is schema {value['schema']} of report.json, this version reads schema {SCHEMA}",
                where=path,
                hint="Render it with the version of resnest-edge that wrote it, or measure again.",
            )
        return _report(value)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise InputError(
            f"this report cannot be read ({type(exc).__name__}: {exc})",
            where=path,
            hint=f"Give a {JSON_NAME} that resnest-edge report wrote.",
        ) from exc


def _report(value: Mapping[str, Any]) -> Report:
    rows = tuple(_row(row) for row in value["rows"])
    if not rows:
        raise ValueError("no rows")
    known: dict[str, Any] = {name: value[name] for name in (field.name for field in fields(Report))}
    lists = {name: tuple(known[name]) for name in ("benchmark", "ratios", "warnings", "commands", "notes")}
    return Report(**{**known, **lists, "rows": rows})


def _row(value: Mapping[str, Any]) -> Row:
    known = {name: value[name] for name in (field.name for field in fields(Row))}
    for name in ("top1_ci95", "drop_ci95"):
        if known[name] is not None:
            low, high = known[name]
            known[name] = (low, high)
    numbers = [number for number in known.values() if isinstance(number, float)]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("a number is not finite")
    return Row(**known)


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
