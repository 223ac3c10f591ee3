"""`resnest-edge evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resnest_edge.cli import options
from resnest_edge.cli.console import interval, number, print_json, print_table, progress_bars, warn


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The engine to measure.")],
    images: Annotated[
        str, typer.Option("--images", metavar="DIR|LIST", help="Images, labelled for top-1; also demo:test.")
    ],
    reference: Annotated[
        Path | None, typer.Option("--reference", metavar="BUNDLE", help="An engine to compare with, usually FP32.")
    ] = None,
    skip_bad: options.SkipBad = False,
    trust: options.Trust = None,
    json: options.Json = False,
) -> None:
    """Measure an engine's accuracy, and what it lost against another.

    Example:

    $ resnest-edge evaluate engines/int8 --reference engines/fp32 --images imagenet/val
    """
    from resnest_edge.pipeline.evaluation import evaluate_paths

    with progress_bars() as progress:
        result = evaluate_paths(bundle, reference, images, skip_bad=skip_bad, trust=trust, progress=progress)
    if result.skipped:
        warn(f"{len(result.skipped)} bad images were left out: {', '.join(result.skipped[:5])}")
    value: dict[str, Any] = result.accuracy.to_json(str(bundle))
    if result.comparison is not None:
        value.update(reference=str(reference), **result.comparison.to_json())
    value["skipped"] = list(result.skipped)
    if json:
        print_json(value)
        return
    print_table(f"{bundle} on {value['images']} images of {images}", ("", "Value", "95 % interval"), _rows(value))


def _rows(value: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = [
        ("Top-1, %", number(value["top1"]), interval(value["top1_ci95"])),
        ("Top-5, %", number(value["top5"]), ""),
    ]
    if "drop" in value:
        rows += [
            ("Reference top-1, %", number(value["reference_top1"]), ""),
            ("Drop, points", number(value["drop"], sign=True), interval(value["drop_ci95"], sign=True)),
            ("Agreement, %", number(value["agreement"]), interval(value["agreement_ci95"])),
            ("Logit SQNR, dB", number(value["logit_sqnr_db"], 1), ""),
        ]
    return rows
