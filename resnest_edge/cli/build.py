"""`resnest-edge build`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from resnest_edge.cli import engine_options, options
from resnest_edge.cli.console import interval, note, number, print_json, print_table, progress_bars, stacked, warn
from resnest_edge.errors import UsageError
from resnest_edge.spec import InputFormat, Precision

if TYPE_CHECKING:
    from resnest_edge.pipeline.making import Settle

_DEMO = (
    "No model was named, so this is the embedded demo model (resnest-demo, handwritten digits in scenes). "
    "For yours: resnest-edge build resnest50 --weights PATH --images DIR --precision int8"
)


def command(
    what: options.What = None,
    weights: options.Weights = None,
    num_classes: options.NumClasses = None,
    precision: options.Precisions = None,
    target: options.Targets = None,
    images: options.Images = None,
    eval_images: options.EvalImages = None,
    calib_images: options.CalibImages = 512,
    seed: options.Seed = 0,
    method: options.Method = "mse",
    bias_correction: options.BiasCorrection = True,
    round_weights: options.RoundWeights = True,
    weight_scales: options.WeightScales = "max",
    equalize: options.Equalize = False,
    scales: options.ScalesFile = None,
    max_drop: options.MaxDrop = None,
    confident: options.Confident = False,
    weight_bits: options.WeightBits = None,
    skip_bad: options.SkipBad = False,
    image_size: options.ImageSize = None,
    resize: options.Resize = None,
    interpolation: options.Filter = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
    form: options.FormChoice = None,
    tuned: options.Tuned = False,
    batch: options.Batch = None,
    input_format: options.Format = InputFormat.UINT8_NHWC,
    workspace: engine_options.Workspace = None,
    optimization_level: engine_options.Level = None,
    compute_capability: engine_options.Capabilities = None,
    timing_cache: engine_options.TimingCache = None,
    version_compatible: engine_options.VersionCompatible = False,
    hardware_compatibility: engine_options.HardwareCompatibility = None,
    dla_core: engine_options.DlaCore = None,
    refittable: engine_options.Refittable = False,
    stripped: engine_options.Stripped = False,
    trust: options.Trust = None,
    out: options.Out = None,
    cache: options.Cache = True,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Build engines and measure what each precision costs in accuracy.

    Example:

    $ resnest-edge build resnest50 --weights my.pth --images train/ --eval-images val/ --precision int8
    """
    from resnest_edge.cli.request import make_request
    from resnest_edge.pipeline.build import build

    request = make_request(locals())
    if tuned and form is not None:
        raise UsageError("--tuned chooses the form", hint="Leave --form out, or --tuned.")
    settle = _settle(max_drop, confident, request.precisions)
    if what is None and weights is None:
        note(_DEMO)
    with progress_bars() as progress:
        report = build(request, progress, settle)
    for text in report.notes:
        note(text)
    for text in report.warnings:
        warn(text)
    if json:
        print_json({**asdict(report), "reused": [] if request.cache is None else request.cache.reused})
        return
    spent = report.prepare_seconds  # none of it on a device, whose graph was exported elsewhere
    caption = f"Exporting and calibrating took {spent:.1f} s, once for all." if spent else None
    print_table("Built", _COLUMNS, [_cells(row) for row in report.results], caption=caption)
    for row in report.results:
        for text in _held(row):
            note(text)
        if row.get("reason") and row["reason"] not in report.notes:
            note(f"{row['bundle']}: {row['reason']}")


def _settle(bound: float | None, confident: bool, precisions: Sequence[Precision]) -> Settle | None:
    """What holds INT8 bundles to the bound, where there is one."""
    if bound is None:
        if confident:
            raise UsageError("--confident says how --max-drop is held", hint="Give --max-drop POINTS.")
        return None
    if Precision.INT8 not in precisions:
        raise UsageError("--max-drop is for INT8", hint="Add --precision int8.")
    from resnest_edge.search.max_drop import HoldDrop

    return HoldDrop(bound, confident)


def _held(row: dict[str, Any]) -> list[str]:
    """What it took to hold the bound, in sentences."""
    held = row.get("max_drop")
    if held is None:
        return []
    tried = [
        f"{trial['kept']} layers in float: drop {trial['drop']:+.2f}, up to {trial['upper']:+.2f}, "
        f"{'holds' if trial['holds'] else 'too much'}"
        for trial in held["trace"]
    ]
    return [*tried, f"in float: {', '.join(held['kept']) or 'no layer'}"]


_COLUMNS = ("Bundle", "Target", "Precision", "Top-1, %", "Drop, points", "Agreement, %", "SQNR, dB", "MiB", "s")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    asked, run = row["precision"], row["precision_run"]
    return (
        row["bundle"],
        row["target"],
        asked if run in (None, asked) else f"{asked} (ran {run})",
        stacked(number(row["top1"]), interval(row["top1_ci95"])),
        stacked(number(row["drop"], sign=True), interval(row["drop_ci95"], sign=True)),
        number(row["agreement"]),
        number(row["logit_sqnr_db"], 1),
        number(row["size_bytes"] / 2**20, 1),
        number(row["seconds"], 1),
    )
