"""What stands in a report besides accuracy and speed: layers, sensitivity, published figures, the pictures' digest."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from resnest_edge.backends.inspection import ModelLayer
from resnest_edge.errors import InputError
from resnest_edge.images import ImageSet
from resnest_edge.models.variants import VARIANTS
from resnest_edge.pipeline.inspection import Inspection, summarise
from resnest_edge.report.published import EFFICIENTNETS
from resnest_edge.report.reading import load_sensitivity
from resnest_edge.report.schema import EngineLayers, KindTime, LayerTime, PublishedPoint, Sensitivity


def engine_account(found: Inspection) -> EngineLayers:
    """What an engine runs, as a report keeps it; layers that the runtime fused into one are one entry."""
    if found.reason is not None:
        return EngineLayers(str(found.bundle.path), None, reason=found.reason)
    groups: dict[str, list[ModelLayer]] = {}
    for layer in found.model_layers:
        groups.setdefault(layer.engine_layer or f"{layer.name} alone", []).append(layer)
    return EngineLayers(
        str(found.bundle.path),
        found.bundle.manifest.info.batch.minimum,
        tuple(_layer(group) for group in groups.values()),
        tuple(KindTime(**row) for row in summarise(found.engine_layers)),
    )


def _layer(group: list[ModelLayer]) -> LayerTime:
    first = group[0]
    names = " + ".join(layer.name for layer in group)
    return LayerTime(names, first.asked, first.runs, first.kind, first.kernel, first.milliseconds)


def read_sensitivity(path: Path | None, models: Collection[str]) -> Sensitivity | None:
    """A sensitivity file of one of these models; any model's where none is known.

    Raises:
        InputError: it is something else, or of another model.
    """
    if path is None:
        return None
    found = load_sensitivity(path)
    if models and found.model not in models:
        raise InputError(
            f"this sensitivity is of {found.model}, and the report is of {', '.join(sorted(models))}",
            where=path,
            hint="Give the file of the same model.",
        )
    return found


def pictures_digest(images: ImageSet) -> str:
    """SHA-256 over names and labels: two reports of one digest were measured on the same pictures."""
    hasher = hashlib.sha256()
    for index in range(len(images)):
        hasher.update(f"{images.name(index)}\t{images.label(index)}\n".encode())
    return hasher.hexdigest()


def published_points() -> tuple[PublishedPoint, ...]:
    """The ResNeSts of the paper and timm's two smaller ones, then the EfficientNets they were compared with."""
    ours = []
    for variant in VARIANTS.values():
        if variant.top1 is None or variant.top1_source is None or "fast" in variant.name:
            continue
        gmacs = variant.published_gmacs or variant.macs / 1e9
        counted = "" if variant.published_gmacs else " (multiply-accumulates counted on the network)"
        source = f"{variant.top1_source}{counted}"
        ours.append(PublishedPoint("ResNeSt", variant.name, variant.top1, round(gmacs, 2), variant.image_size, source))
    return (*ours, *EFFICIENTNETS)
