"""Whether two reports' figures of one engine can be compared at all, and the reason where they cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnest_edge.report.metrics import ACCURACY, SPEED
from resnest_edge.report.schema import Report, Row

MACHINE = ("cpu", "cores", "architecture", "board", "gpu")
"""Keys of the environment that say which machine it was."""

PLAN = ("threads", "input")
"""Keys of the conditions that a latency depends on."""


def why_not(kind: str, old: Report, new: Report, before: Row, after: Row) -> str | None:
    """Why a kind of metric of one engine cannot be compared; None where it can.

    What a report does not say counts as different: a gate must not pass because nobody knows.
    """
    return _model(before, after) or (
        _pictures(old, new, before, after) if kind == ACCURACY else _machine(old, new) if kind == SPEED else None
    )


def _model(before: Row, after: Row) -> str | None:
    if before.model is None or after.model is None:
        which = "old" if before.model is None else "new"
        return f"the {which} report does not say which model it measured (it is of schema 1): measure it again"
    if before.model != after.model:
        return f"different models: {before.model} and {after.model}"
    if before.image_size != after.image_size:
        return f"different image sizes: {before.image_size} and {after.image_size} pixels"
    return None


def _pictures(old: Report, new: Report, before: Row, after: Row) -> str | None:
    if before.images is None or after.images is None:
        which = "old" if before.images is None else "new"
        reason = (before if before.images is None else after).reason
        return f"accuracy is not in the {which} report" + (f" ({reason})" if reason else "")
    if before.images != after.images:
        return f"different pictures: {before.images:,} and {after.images:,}"
    if old.images_digest is None or new.images_digest is None:
        return "a report does not say which pictures it measured on: measure it again"
    return None if old.images_digest == new.images_digest else "different pictures (names or labels differ)"


def _machine(old: Report, new: Report) -> str | None:
    for name in MACHINE:
        mine, theirs = old.environment.get(name), new.environment.get(name)
        if mine != theirs:
            return f"different machines: {name} {_told(mine)} and {_told(theirs)}"
    if old.environment.get("cpu") is None:
        return "neither report says which machine it was measured on"
    for name in PLAN:
        mine, theirs = old.conditions.get(name), new.conditions.get(name)
        if old.conditions and new.conditions and mine != theirs:
            return f"measured differently: {name} {_told(mine)} and {_told(theirs)}"
    return None


def other_device(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str | None:
    """Why two results of one engine are of different GPUs; None where they are not."""
    if before is None or after is None:
        return None
    mine, theirs = ((result.get("settings") or {}).get("gpu") for result in (before, after))
    return None if mine == theirs else f"different GPUs: {_told(mine)} and {_told(theirs)}"


def differences(old: Report, new: Report) -> tuple[tuple[str, str, str], ...]:
    """Whatever else differs between two measurements, as (what, old, new): versions, plan, machine, pictures."""
    found = [*_mapping("", old.environment, new.environment), *_mapping("", old.conditions, new.conditions)]
    if old.images_digest != new.images_digest:
        found.append(("pictures", _told(old.images_digest)[:12], _told(new.images_digest)[:12]))
    ignored = ("load_average", "other_work_cores", "power", "affinity")
    return tuple(row for row in found if not row[0].startswith(ignored))


def _mapping(prefix: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for name in dict.fromkeys([*old, *new]):
        mine, theirs = old.get(name), new.get(name)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            rows += _mapping(f"{prefix}{name} ", mine, theirs)
        elif mine != theirs:
            rows.append((f"{prefix}{name}", _told(mine), _told(theirs)))
    return rows


def _told(value: Any) -> str:
    return "unknown" if value is None else str(value)
