"""`resnest-edge build`."""

from __future__ import annotations

from typing import Any

from resnest_edge.cli import options
from resnest_edge.cli.console import interval, note, number, print_json, print_table, progress_bars, stacked, warn
from resnest_edge.spec import Form, InputFormat

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
    scales: options.ScalesFile = None,
    weight_bits: options.WeightBits = None,
    skip_bad: options.SkipBad = False,
    image_size: options.ImageSize = None,
    resize: options.Resize = None,
    interpolation: options.Filter = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
    form: options.FormChoice = Form.SPLIT,
    batch: options.Batch = None,
    input_format: options.Format = InputFormat.UINT8_NHWC,
    workspace: options.Workspace = None,
    optimization_level: options.Level = None,
    compute_capability: options.Capabilities = None,
    out: options.Out = None,
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
    if what is None and weights is None:
        note(_DEMO)
    with progress_bars() as progress:
        report = build(request, progress)
    for text in report.notes:
        (warn if "asked for" in text or "bad images" in text else note)(text)
    if json:
        print_json({"results": report.results, "notes": report.notes, "prepare_seconds": report.prepare_seconds})
        return
    caption = f"Exporting and calibrating took {report.prepare_seconds:.1f} s, once for all."
    print_table("Built", _COLUMNS, [_cells(row) for row in report.results], caption=caption)
    for row in report.results:
        if row.get("reason"):
            note(f"{row['bundle']}: {row['reason']}")


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
