"""From what `evaluate`, `benchmark` and the bundles' manifests say to one report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any

from resnest_edge.errors import InputError
from resnest_edge.report.schema import EngineLayers, PublishedPoint, Report, Row, Sensitivity

_ACCURACY_KEYS = ("images", "top1", "top5", "drop", "agreement", "logit_sqnr_db", "logits_identical", "reason")
_NOT_EVALUATED = "accuracy was not measured"
_TOLERANCE = 1e-9  # the same count over the same count, printed and read back


@dataclass(frozen=True)
class BundleFacts:
    """What a report says of a bundle besides its measurements.

    Attributes:
        bundle: its name, as ``evaluate`` and ``benchmark`` gave it.
        target: the runtime.
        precision: of the typed graph.
        precision_run: what the engine's convolutions really run in.
        form: inference form.
        size_mib: of the engine's files.
        model: name of the network.
        image_size: side of its square input, pixels.
    """

    bundle: str
    target: str
    precision: str
    precision_run: str | None = None
    form: str | None = None
    size_mib: float | None = None
    model: str | None = None
    image_size: int | None = None


def make_report(
    bundles: Sequence[BundleFacts],
    *,
    title: str,
    evaluations: Iterable[Mapping[str, Any]] = (),
    benchmark: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    commands: Iterable[str] = (),
    notes: Iterable[str] = (),
    demo: bool = False,
    created: str | None = None,
) -> Report:
    """Join measurements of the same bundles.

    Args:
        bundles: what to report; the first is the reference, as it was for ``evaluations`` and ``benchmark``.
        title: what it is about.
        evaluations: objects of ``evaluate --json``, at most one a bundle; or just its ``bundle`` and the ``reason``
            why there is none.
        benchmark: the object of ``benchmark --json``.
        environment: machine and versions.
        commands: what to type to measure this again.
        notes: sentences.
        demo: whether the embedded demo model was measured.
        created: ISO 8601; None means now.

    Raises:
        InputError: a measurement is of no bundle of the report, or given twice; two were not measured on the same
            images or against the first bundle.
    """
    names = [facts.bundle for facts in bundles]
    if not names or len(set(names)) < len(names):
        raise InputError(f"a report needs bundles, each under a name of its own, not {names}")
    speed = benchmark or {"results": [], "ratios": [], "conditions": {}, "warnings": []}
    accuracies = _by_bundle(evaluations, names)
    _check_reference(names[0], accuracies, speed)
    _check_known((result["bundle"] for result in speed["results"]), names)
    rows = [
        Row(**asdict(facts), **_accuracy(accuracies.get(facts.bundle)), **_speed(facts.bundle, speed))
        for facts in bundles
    ]
    return Report(
        title=title,
        created=created or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        demo=demo,
        rows=tuple(rows),
        benchmark=tuple(speed["results"]),
        ratios=tuple(speed["ratios"]),
        conditions=speed["conditions"],
        warnings=tuple(speed["warnings"]),
        environment=environment or {},
        commands=tuple(commands),
        notes=tuple(notes),
    )


def add_parts(
    report: Report,
    *,
    images_digest: str | None = None,
    layers: Iterable[EngineLayers] = (),
    sensitivity: Sensitivity | None = None,
    published: Iterable[PublishedPoint] = (),
) -> Report:
    """A report with what stands in it besides accuracy and speed.

    Args:
        report: the rest.
        images_digest: of the pictures' names and labels.
        layers: what each engine runs, at most one a bundle.
        sensitivity: what quantizing each layer alone does.
        published: figures of others.

    Raises:
        InputError: layers of a bundle that is not in the report.
    """
    inspected = tuple(layers)
    _check_known((engine.bundle for engine in inspected), [row.bundle for row in report.rows])
    return replace(
        report,
        images_digest=images_digest,
        layers=inspected,
        sensitivity=sensitivity,
        published=tuple(published),
    )


def _by_bundle(evaluations: Iterable[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for value in evaluations:
        if value["bundle"] in found:
            raise InputError(f"bundle {value['bundle']!r} was evaluated twice", hint="Give one evaluation a bundle.")
        found[value["bundle"]] = value
    _check_known(found, names)
    return found


def _check_known(measured: Iterable[str], names: Sequence[str]) -> None:
    if strangers := sorted(set(measured) - set(names)):
        raise InputError(f"{', '.join(strangers)} was measured but is not in the report, which has {', '.join(names)}")


def _check_reference(first: str, accuracies: Mapping[str, Mapping[str, Any]], speed: Mapping[str, Any]) -> None:
    """Refuse figures taken against something else than the first bundle, or on other images."""
    if others := sorted({ratio["reference"] for ratio in speed["ratios"]} - {first}):
        raise InputError(f"the ratios are against {others[0]}, but the report's first bundle is {first}")
    counts = {value["images"] for value in accuracies.values() if value.get("images") is not None}
    if len(counts) > 1:
        raise InputError(f"the bundles were evaluated on different numbers of images: {sorted(counts)}")
    compared = [name for name, value in accuracies.items() if value.get("agreement") is not None]
    if compared and first in accuracies and accuracies[first].get("images") is None:
        raise InputError(f"{compared[0]} was compared with something else than {first}, which was not evaluated")
    expected = accuracies.get(first, {}).get("top1")
    for name, value in accuracies.items():
        top1 = value.get("reference_top1")
        if expected is not None and top1 is not None and abs(top1 - expected) > _TOLERANCE:
            raise InputError(f"{name} was compared with a top-1 of {top1:.3f} %, but {first} has {expected:.3f} %")


def _accuracy(value: Mapping[str, Any] | None) -> dict[str, Any]:
    if value is None:
        return {"reason": _NOT_EVALUATED}
    intervals = {name: value.get(name) for name in ("top1_ci95", "drop_ci95")}
    return {
        **{name: value.get(name) for name in _ACCURACY_KEYS},
        **{name: _pair(bounds) for name, bounds in intervals.items()},
    }


def _pair(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (bounds[0], bounds[1])


def _speed(name: str, speed: Mapping[str, Any]) -> dict[str, Any]:
    results = [result for result in speed["results"] if result["bundle"] == name]
    if not results:
        return {}
    alone = min(results, key=lambda result: (result["streams"], result["batch"]))
    best = max(results, key=lambda result: float(result["images_per_second"]))
    cell = (name, alone["batch"], alone["streams"])
    ratios = [r for r in speed["ratios"] if (r["bundle"], r["batch"], r["streams"]) == cell]
    return {
        "latency_ms": alone["latency_ms"],
        "latency_batch": alone["batch"],
        "latency_streams": alone["streams"],
        "speedup": ratios[0]["speedup"] if ratios else None,
        "images_per_second": best["images_per_second"],
        "throughput_batch": best["batch"],
        "throughput_streams": best["streams"],
        "peak_rss_mib": alone["peak_rss_mib"],
        "images_per_second_ci95": _pair(best.get("images_per_second_ci95")),
        **{name: best.get(name) for name in ("power_w", "images_per_joule", "power_source", "power_reason")},
    }
