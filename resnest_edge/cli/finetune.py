"""`resnest-edge finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resnest_edge.cli import options
from resnest_edge.cli.console import interval, note, number, print_json, print_table, progress_bars
from resnest_edge.spec import MOST_BATCH

TRAINING = "Training"


def command(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The checkpoint to write, .safetensors; scales go beside it.")
    ],
    what: Annotated[
        str | None, typer.Argument(metavar="VARIANT", help="The network; the embedded demo model if not given.")
    ] = None,
    weights: options.Weights = None,
    images: Annotated[
        str | None,
        typer.Option("--images", metavar="DIR|LIST", help="Labelled images to train on; some of them calibrate."),
    ] = None,
    eval_images: Annotated[
        str | None,
        typer.Option("--eval-images", metavar="DIR|LIST", help="Labelled images to measure on, before and after."),
    ] = None,
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, max=100_000, help="Passes over the images.", rich_help_panel=TRAINING)
    ] = 3,
    rate: Annotated[
        float, typer.Option("--rate", min=1e-9, max=1.0, help="Adam's first step size.", rich_help_panel=TRAINING)
    ] = 1e-4,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, max=MOST_BATCH, help="Images a step.", rich_help_panel=TRAINING)
    ] = 32,
    target: options.Targets = None,
    calib_images: options.CalibImages = 512,
    seed: options.Seed = 0,
    method: options.Method = "mse",
    bias_correction: options.BiasCorrection = True,
    weight_bits: options.WeightBits = None,
    image_size: options.ImageSize = None,
    resize: options.Resize = None,
    interpolation: options.Filter = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Train a few epochs under the Q/DQ of one INT8 target, where calibration alone loses too much.

    An interrupted run leaves OUT.resume beside --out: the same command goes on after its last whole epoch.

    Example:

    $ resnest-edge finetune resnest50 --weights my.pth --images train/ --eval-images val/ --out tuned.safetensors
    """
    from resnest_edge.cli.request import make_request
    from resnest_edge.training.finetune import finetune
    from resnest_edge.training.train import Recipe

    request = make_request({**locals(), "precision": None})
    with progress_bars() as progress:
        found = finetune(request, Recipe(epochs, rate, batch_size, seed), progress)
    if json:
        print_json(found)
        return
    losses = ", ".join(f"{loss:.4f}" for loss in found["losses"])
    note(f"trained on {found['images']} images; loss of each epoch: {losses}")
    if found["before"] is None:
        note("without --eval-images, nothing was measured")
    else:
        rows = [_cells(name, found[name]) for name in ("before", "after")]
        print_table(f"INT8 as written; FP32 top-1 {found['fp32_top1']:.2f} %", _COLUMNS, rows)
    typer.echo(f"checkpoint: {found['checkpoint']}")
    typer.echo(f"scales: {found['scales']}")
    name = "" if what is None else f"{what} "
    note(f"Next: resnest-edge build {name}--weights {found['checkpoint']} --scales {found['scales']} --precision int8")


_COLUMNS = ("", "Top-1, %", "Drop, points (95 %)", "Agreement, %", "SQNR, dB")


def _cells(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        number(row["top1"]),
        f"{number(row['drop'], sign=True)} {interval(row['drop_ci95'], sign=True)}",
        number(row["agreement"]),
        number(row["logit_sqnr_db"], 1),
    )
