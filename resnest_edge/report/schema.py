"""``report.json``: what was measured, as plain values. Every page of a report is a pure function of it.

Schema 2 is schema 1 with more keys (``report.reading`` reads both); the JSON Schemas are in ``docs/schema``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from resnest_edge.errors import InputError

SCHEMA = 2
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
        model: name of the network.
        image_size: side of its square input, pixels.
        images_per_second_ci95: 95 % interval of ``images_per_second``.
        power_w: mean power at the best throughput, in watts.
        images_per_joule: images for each joule there.
        power_source: what told the power, and of what.
        power_reason: why nothing told it.
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
    model: str | None = None
    image_size: int | None = None
    images_per_second_ci95: tuple[float, float] | None = None
    power_w: float | None = None
    images_per_joule: float | None = None
    power_source: str | None = None
    power_reason: str | None = None


@dataclass(frozen=True)
class LayerTime:
    """One weighted layer of the model, as the engine runs it.

    Attributes:
        name: in the model; several names joined by " + " where the runtime fused them into one.
        asked: precision written into the typed graph.
        runs: precision it runs in; None where the runtime does not say.
        kind: the runtime's word for what runs it.
        kernel: the kernel chosen for it.
        milliseconds: of one inference, with whatever was fused into it; None where it was not measured.
    """

    name: str
    asked: str
    runs: str | None
    kind: str = ""
    kernel: str = ""
    milliseconds: float | None = None


@dataclass(frozen=True)
class KindTime:
    """All of an engine's layers of one kind and precision.

    Attributes:
        kind: the runtime's word for them.
        precision: what they run in.
        layers: how many.
        milliseconds: of one inference, together; None where it was not measured.
    """

    kind: str
    precision: str
    layers: int
    milliseconds: float | None


@dataclass(frozen=True)
class EngineLayers:
    """What one engine runs, with the runtime's profiler on.

    Attributes:
        bundle: name.
        batch: images in that inference.
        layers: the model's weighted layers, in the model's order.
        kinds: everything the engine runs by kind and precision, the slowest first.
        reason: why the runtime was not asked.
    """

    bundle: str
    batch: int | None
    layers: tuple[LayerTime, ...] = ()
    kinds: tuple[KindTime, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class SensitiveLayer:
    """One layer quantized, everything else in FP32.

    Attributes:
        layer: its name in the model.
        macs: its multiply-accumulates for one image.
        harm: relative error of the logits, ``Σ(ref − x)² / Σ ref²``.
        kl: mean KL divergence of the probabilities from FP32's, nats.
        changed: percent of images that get another answer.
        top1_change: top-1 minus FP32's, percentage points.
    """

    layer: str
    macs: int
    harm: float
    kl: float
    changed: float
    top1_change: float | None


@dataclass(frozen=True)
class Sensitivity:
    """What `resnest-edge sensitivity` measured.

    Attributes:
        model: name of the network.
        target: the runtime whose placement was quantized.
        images: how many each layer was measured on; None where the file does not say.
        layers: most harmful first.
    """

    model: str
    target: str
    images: int | None
    layers: tuple[SensitiveLayer, ...]


@dataclass(frozen=True)
class PublishedPoint:
    """A figure that others published: for orientation, never measured here.

    Attributes:
        family: of networks.
        name: of the network.
        top1: ImageNet-1k top-1, percent.
        gmacs: billions of multiply-accumulates for one image at ``image_size``.
        image_size: side of the input, pixels.
        source: where the figures stand.
    """

    family: str
    name: str
    top1: float
    gmacs: float
    image_size: int
    source: str


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
        images_digest: SHA-256 over names and labels of the pictures that accuracy was measured on.
        layers: what each engine runs.
        sensitivity: what quantizing each layer alone does.
        published: figures of others, for orientation.
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
    images_digest: str | None = None
    layers: tuple[EngineLayers, ...] = ()
    sensitivity: Sensitivity | None = None
    published: tuple[PublishedPoint, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values, the schema version first."""
        return {"schema": SCHEMA, **asdict(self)}

    def dumps(self) -> str:
        """The text of ``report.json``.

        Raises:
            InputError: a value is NaN, infinite, or nothing JSON knows.
        """
        return dump_plain(self.to_json(), "the report")


def dump_plain(value: Mapping[str, Any], what: str) -> str:
    """The text of a JSON file that people read too.

    Raises:
        InputError: a value is NaN, infinite, or nothing JSON knows.
    """
    try:
        return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    except (ValueError, TypeError) as exc:
        raise InputError(f"{what} holds a value that JSON cannot: {exc}") from exc
