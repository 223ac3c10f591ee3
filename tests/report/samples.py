"""Measured objects, made up: what `evaluate --json` and `benchmark --json` answer."""

from __future__ import annotations

from itertools import product
from typing import Any

from resnest_edge.measure.summary import GRID
from resnest_edge.report import BundleFacts, Report, make_report
from resnest_edge.report.assemble import add_parts
from resnest_edge.report.published import EFFICIENTNETS
from resnest_edge.report.schema import (
    EngineLayers,
    KindTime,
    LayerTime,
    PublishedPoint,
    SensitiveLayer,
    Sensitivity,
)

CREATED = "2026-01-05T10:12:44+00:00"
CONDITIONS = {
    "rounds": 10,
    "slice_seconds": 1.0,
    "warmup_seconds": 0.5,
    "seed": 0,
    "threads": None,
    "cores": 2,
    "affinity": [0, 1],
    "load_average": 0.31,
    "input": "random",
}


def evaluation(bundle: str, top1: float | None, drop: float | None = None, **more: Any) -> dict[str, Any]:
    value: dict[str, Any] = {"bundle": bundle, "images": 2000, "top1": top1, "top1_ci95": None, "top5": None}
    if top1 is not None:
        value.update(top1_ci95=[top1 - 1.5, top1 + 1.5], top5=99.0)
    if drop is not None:
        value.update(reference_top1=(top1 or 0) + drop, drop=drop, drop_ci95=[drop - 0.4, drop + 0.4])
    return {**value, **more}


def result(bundle: str, p50: float, batch: int = 1, streams: int = 1, precision: str = "fp32") -> dict[str, Any]:
    speed = 1000 * batch * streams / p50
    return {
        "bundle": bundle,
        "target": "openvino",
        "precision": precision,
        "batch": batch,
        "streams": streams,
        "latency_distribution": {
            "percents": [float(percent) for percent in GRID],
            "milliseconds": [p50 * (0.9 + 0.002 * percent) for percent in GRID],
        },
        "images_per_second_ci95": [0.97 * speed, 1.02 * speed],
        "rounds_images_per_second": [0.97 * speed, speed, 1.03 * speed],
        "power_w": None,
        "images_per_joule": None,
        "power_source": None,
        "power_reason": "no meter here",
        "latency_ms": {"mean": p50 * 1.02, "p50": p50, "p90": p50 * 1.05, "p95": p50 * 1.1, "p99": p50 * 1.2},
        "images_per_second": speed,
        "cv": 0.011,
        "peak_rss_mib": 210.5,
        "samples": 1000,
        "rounds": 10,
        "load_seconds": 0.4,
        "settings": {},
        "timings_ms": {},
    }


def ratio(bundle: str, reference: str, median: float, batch: int = 1, streams: int = 1) -> dict[str, Any]:
    spread = {"median": median, "min": 0.9 * median, "q25": 0.95 * median, "q75": 1.05 * median, "max": 1.1 * median}
    return {"bundle": bundle, "reference": reference, "batch": batch, "streams": streams, "speedup": spread}


def benchmark(results: list[dict[str, Any]], ratios: list[dict[str, Any]]) -> dict[str, Any]:
    return {"results": results, "ratios": ratios, "conditions": CONDITIONS, "warnings": ["the machine was busy"]}


def two_bundles() -> dict[str, Any]:
    """Arguments of make_report for FP32 and INT8, both measured."""
    return {
        "bundles": [
            BundleFacts("engines/fp32", "openvino", "fp32", "fp32", "split", 98.3),
            BundleFacts("engines/int8", "openvino", "int8", "int8", "split", 26.1),
        ],
        "title": "ResNeSt-50, two cores",
        "evaluations": [
            evaluation("engines/fp32", 87.44),
            evaluation("engines/int8", 87.34, 0.1, agreement=99.1, logit_sqnr_db=30.7, logits_identical=False),
        ],
        "benchmark": benchmark(
            [
                result("engines/fp32", 40.0),
                result("engines/int8", 16.0, precision="int8"),
                result("engines/fp32", 300.0, batch=8),
                result("engines/int8", 100.0, batch=8, precision="int8"),
            ],
            [
                ratio("engines/int8", "engines/fp32", 2.5),
                ratio("engines/int8", "engines/fp32", 3.0, batch=8),
            ],
        ),
        "environment": {"cpu": "Some CPU @ 2 GHz", "cpu_isa": ["avx2", "amx_int8"], "versions": {"numpy": "2.4"}},
        "commands": ["resnest-edge build resnest50 --images $RESNEST_EDGE_DATA/train"],
        "notes": ["Calibrated on 512 images."],
        "created": CREATED,
    }


def layers(bundle: str, precision: str, scale: float) -> EngineLayers:
    """An engine of 40 layers, the first of which stays in FP32."""
    runs = ["fp32", *[precision] * 39]
    return EngineLayers(
        bundle,
        1,
        tuple(
            LayerTime(
                f"layer{1 + n // 10}.{n % 10}.conv", precision, runs[n], "Convolution", "jit", scale * (1 + n % 7)
            )
            for n in range(40)
        ),
        (
            KindTime("Convolution", precision, 39, scale * 150),
            KindTime("Convolution", "fp32", 1, scale),
            KindTime("Reorder", "fp32", 4, None),
        ),
    )


def sensitivity(count: int = 20) -> Sensitivity:
    effects = [
        SensitiveLayer(f"layer{n}.0.conv", 1000, 10.0 ** (-1 - n / 4), 0.01, 1.0, -0.1 * n) for n in range(count)
    ]
    return Sensitivity("resnest50", "openvino", 64, tuple(effects))


def everything(**changes: Any) -> Report:
    """Every part that a page can show."""
    arguments = two_bundles()
    for result_ in arguments["benchmark"]["results"]:
        result_.update(power_w=11.5, images_per_joule=result_["images_per_second"] / 11.5, power_source="RAPL package")
        result_.update(power_reason=None)
    facts = [
        BundleFacts("engines/fp32", "openvino", "fp32", "fp32", "split", 98.3, "resnest50", 224),
        BundleFacts("engines/int8", "openvino", "int8", "int8", "split", 26.1, "resnest50", 224),
    ]
    parts: dict[str, Any] = {
        "layers": [layers("engines/fp32", "fp32", 0.4), layers("engines/int8", "int8", 0.1)],
        "sensitivity": sensitivity(),
        "published": (PublishedPoint("ResNeSt", "resnest50", 81.03, 5.4, 224, "README"), *EFFICIENTNETS),
        "images_digest": "ab" * 32,
    }
    given = {name: changes.pop(name) for name in list(changes) if name in parts}
    return add_parts(make_report(**{**arguments, "bundles": facts, **changes}), **{**parts, **given})


def two(**changes: Any) -> Report:
    return make_report(**{**two_bundles(), **changes})


def many(count: int) -> Report:
    """One reference and ``count - 1`` INT8 engines of one runtime, close together in accuracy and speed."""
    names = [f"engines/number-{index}" for index in range(count)]
    return make_report(
        [BundleFacts(name, "openvino", "int8" if index else "fp32") for index, name in enumerate(names)],
        title="Many",
        evaluations=[
            evaluation(name, 87.0 - 0.07 * index, 0.07 * index if index else None) for index, name in enumerate(names)
        ],
        benchmark=benchmark([result(name, 40.0 - 2.5 * index) for index, name in enumerate(names)], []),
        created=CREATED,
    )


def two_runtimes(uncertainty: float = 0.3) -> Report:
    """Five engines of two runtimes, whose names are long and whose points are near each other, two nearly the same.

    Args:
        uncertainty: half of the intervals of the drops, in points: large ones leave no room for names.
    """
    bundles = [
        BundleFacts(f"engines/{target}/{precision}", target, precision)
        for target, precision in product(("openvino", "onnxruntime"), ("fp32", "int8"))
    ]
    bundles.append(BundleFacts("engines/openvino/bf16", "openvino", "bf16"))
    names = [bundle.bundle for bundle in bundles]
    milliseconds = dict(zip(names, (98.9, 29.0, 100.9, 44.2, 49.7), strict=True))
    drops = dict(zip(names[1:], (0.0, 0.0, -0.15, -0.2), strict=True))
    low, high = uncertainty, 0.8 * uncertainty
    return make_report(
        bundles,
        title="Two runtimes",
        evaluations=[
            evaluation(names[0], 87.44),
            *(
                evaluation(name, 87.44 - drop, drop, drop_ci95=[drop - low, drop + high])
                for name, drop in drops.items()
            ),
        ],
        benchmark=benchmark([result(name, p50, batch=8) for name, p50 in milliseconds.items()], []),
        created=CREATED,
    )


def unlabelled() -> Report:
    reason = "the images are not labelled"
    return two(
        evaluations=[
            evaluation("engines/fp32", None, reason=reason),
            evaluation("engines/int8", None, reason=reason, agreement=98.5, logit_sqnr_db=25.0),
        ]
    )
