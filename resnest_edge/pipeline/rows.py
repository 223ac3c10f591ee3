"""The rows of a build: what one bundle measured, in the keys that ``build --json`` promises."""

from __future__ import annotations

from typing import Any

from resnest_edge.bundle import Bundle
from resnest_edge.errors import BundleMisfitError, UnavailableError
from resnest_edge.measure.accuracy import Accuracy, compare
from resnest_edge.pipeline.evaluation import evaluate_bundle
from resnest_edge.pipeline.pictures import Pictures
from resnest_edge.pipeline.progress import Progress
from resnest_edge.spec import Target

ACCURACY_KEYS = ("top1", "top1_ci95", "top5", "fp32_top1", "drop", "drop_ci95", "agreement", "logit_sqnr_db")

COLLAPSE_POINTS = 2.0
"""Lower end of a drop's 95 % interval, in percentage points, from which on nobody may overlook it."""


def measure(
    bundle: Bundle, pictures: Pictures, reference: Accuracy | None, skip_bad: bool, progress: Progress
) -> tuple[dict[str, Any], Accuracy | None, tuple[str, ...]]:
    """The accuracy keys of one row, what was answered, and the bad pictures left out."""
    info = bundle.manifest.info
    empty = {**dict.fromkeys(ACCURACY_KEYS), "evaluated_images": 0}
    if pictures.evaluation is None:
        return {**empty, "reason": pictures.note}, None, ()
    stage = f"measure {bundle.manifest.target} {info.precision}"
    try:
        accuracy, skipped = evaluate_bundle(
            bundle, pictures.evaluation, skip_bad=skip_bad, progress=progress, stage=stage
        )
    except (UnavailableError, BundleMisfitError) as exc:
        if isinstance(exc, BundleMisfitError) and bundle.manifest.target is not Target.TENSORRT_RTX:
            raise
        return {**empty, "reason": str(exc)}, None, ()  # no GPU here, or not one of those that were named
    own = {key: value for key, value in accuracy.to_json(str(bundle.path)).items() if key != "bundle"}
    against = compare(accuracy, reference or accuracy).to_json()
    against["fp32_top1"] = against.pop("reference_top1")
    return {**own, **against, "evaluated_images": own.pop("images")}, accuracy, skipped


def row(bundle: Bundle, measured: dict[str, Any], seconds: float) -> dict[str, Any]:
    """One bundle's entry in ``results``."""
    manifest = bundle.manifest
    return {
        "bundle": str(bundle.path),
        "target": manifest.target.value,
        "precision": manifest.info.precision.value,
        "precision_run": manifest.precision_run.value if manifest.precision_run else None,
        **measured,
        "calibration_images": (manifest.calibration or {}).get("images", 0),
        "size_bytes": bundle.size_bytes(),
        "seconds": round(seconds, 2),
    }


def notes(pictures: Pictures) -> list[str]:
    """What the user should know of a build, as sentences."""
    return [pictures.note]


def warnings(results: list[dict[str, Any]], skipped: set[str]) -> list[str]:
    """What the user of a build may not want, as sentences."""
    told = [
        f"{entry['bundle']}: {entry['precision'].upper()} was asked for; this CPU does not compute in it, and "
        f"{entry['target']} runs the graph in {entry['precision_run'].upper()} here"
        for entry in results
        if entry["precision_run"] not in (None, entry["precision"])
    ]
    told += [
        f"{entry['bundle']}: {entry['precision'].upper()} costs at least {entry['drop_ci95'][0]:.1f} points of top-1; "
        "`resnest-edge sensitivity` names the layers it costs most in, and --max-drop bounds the drop"
        for entry in results
        if entry.get("drop_ci95") and entry["drop_ci95"][0] > COLLAPSE_POINTS
    ]
    if skipped:
        shown = ", ".join(sorted(skipped)[:5])
        told.append(f"{len(skipped)} bad images were left out: {shown}{' …' if len(skipped) > 5 else ''}")
    return told
