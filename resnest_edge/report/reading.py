"""``report.json`` read back, of this schema or of the one before; and the file that `sensitivity` writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any

from resnest_edge.errors import InputError
from resnest_edge.files import read_json
from resnest_edge.report.plain import from_plain
from resnest_edge.report.schema import JSON_NAME, SCHEMA, Report, Row, Sensitivity

READABLE = (1, SCHEMA)
"""Schema versions of report.json that this version reads."""


def load_report(path: Path) -> Report:
    """Read a ``report.json``. Keys this version does not know are ignored.

    Raises:
        InputError: the file is missing, not JSON, of another schema, lacks a key, or holds a value of another type.
    """
    try:
        value = read_json(path)
        schema = value["schema"]
        if schema not in READABLE:
            raise InputError(
                f"this is schema {schema} of report.json, this version reads schema {' and '.join(map(str, READABLE))}",
                where=path,
                hint="Render it with the version of resnest-edge that wrote it, or measure again.",
            )
        return _report(value if schema == SCHEMA else upgrade(value))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise InputError(
            f"this report cannot be read ({type(exc).__name__}: {exc})",
            where=path,
            hint=f"Give a {JSON_NAME} that resnest-edge report wrote.",
        ) from exc


def upgrade(value: Mapping[str, Any]) -> dict[str, Any]:
    """A report of schema 1 in the keys of schema 2; what it did not hold is empty or None."""
    rows = [{**_defaults(Row, NEW_ROW_KEYS), **row} for row in value["rows"]]
    return {**_defaults(Report, NEW_REPORT_KEYS), **value, "schema": SCHEMA, "rows": rows}


NEW_REPORT_KEYS = frozenset({"images_digest", "layers", "sensitivity", "published"})
NEW_ROW_KEYS = frozenset(
    {
        "model",
        "image_size",
        "images_per_second_ci95",
        "power_w",
        "images_per_joule",
        "power_source",
        "power_reason",
    }
)
"""Keys that schema 2 added."""


def _defaults(kind: type, names: frozenset[str]) -> dict[str, Any]:
    known: tuple[Field[Any], ...] = fields(kind)
    return {one.name: one.default for one in known if one.name in names and one.default is not MISSING}


@dataclass(frozen=True)
class _Distribution:
    percents: tuple[float, ...]
    milliseconds: tuple[float, ...]


@dataclass(frozen=True)
class _Result:
    """The keys of a benchmark's result that pages and comparisons use; those of schema 2 alone may be absent."""

    bundle: str
    batch: int
    streams: int
    latency_ms: Mapping[str, float]
    images_per_second: float
    images_per_second_ci95: tuple[float, float] | None = None
    latency_distribution: _Distribution | None = None
    settings: Mapping[str, Any] | None = None
    cv: float | None = None
    samples: int | None = None
    rounds: int | None = None
    peak_rss_mib: float | None = None
    power_w: float | None = None
    images_per_joule: float | None = None


@dataclass(frozen=True)
class _Ratio:
    """The keys of a ratio that a page needs."""

    bundle: str
    batch: int
    streams: int
    speedup: Mapping[str, float]


@dataclass(frozen=True)
class _Conditions:
    """The keys of a benchmark's conditions that a page needs."""

    rounds: int
    slice_seconds: float
    warmup_seconds: float
    threads: int | None
    cores: int
    load_average: float
    input: str
    other_work_cores: float | None = None


def _report(value: Mapping[str, Any]) -> Report:
    report = from_plain(Report, value)
    if not report.rows:
        raise ValueError("no rows")
    for row in report.rows:
        if row.latency_ms is not None and not {"p50", "p99"} <= row.latency_ms.keys():
            raise ValueError(f"the latency of {row.bundle} lacks a percentile")
        if row.speedup is not None and not {"median", "q25", "q75"} <= row.speedup.keys():
            raise ValueError(f"the speed of {row.bundle} lacks a quartile")
    names = {row.bundle for row in report.rows}
    optional = _defaults(_Result, frozenset(field.name for field in fields(_Result)))
    for place, result in enumerate(report.benchmark):
        found = from_plain(_Result, {**optional, **result}, f"benchmark[{place}]")
        if found.bundle not in names or not {"p50", "p99"} <= found.latency_ms.keys():
            raise ValueError(f"benchmark[{place}] is of no row, or lacks a percentile")
        curve = found.latency_distribution
        if curve is not None and (not curve.percents or len(curve.percents) != len(curve.milliseconds)):
            raise ValueError(f"benchmark[{place}].latency_distribution has no milliseconds for each percentage")
    for place, ratio in enumerate(report.ratios):
        from_plain(_Ratio, ratio, f"ratios[{place}]")
    if report.benchmark:
        newer = _defaults(_Conditions, frozenset({"other_work_cores"}))
        from_plain(_Conditions, {**newer, **report.conditions}, "conditions")
    return report


def load_sensitivity(path: Path) -> Sensitivity:
    """Read what ``sensitivity --out`` keeps or ``sensitivity --json`` prints; the most harmful layer comes first.

    Raises:
        InputError: the file is missing or something else.
    """
    try:
        value = read_json(path)
        identity = value.get("identity", value)
        ordered = sorted(value["layers"], key=lambda layer: -layer["harm"])
        plain = {"model": identity["model"], "target": identity["target"], "images": value.get("count")}
        found = from_plain(Sensitivity, {**plain, "layers": ordered})
        if not found.layers:
            raise ValueError("no layers")
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise InputError(
            f"this is no sensitivity file ({type(exc).__name__}: {exc})",
            where=path,
            hint="Give what resnest-edge sensitivity --out FILE wrote.",
        ) from exc
