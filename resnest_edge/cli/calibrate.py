"""`resnest-edge calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnest_edge.cli import options
from resnest_edge.cli.console import note, print_json, progress_bars, warn
from resnest_edge.errors import UsageError


def command(
    what: options.Network = None,
    weights: options.Weights = None,
    images: options.Images = None,
    sample: Annotated[
        int, typer.Option("--sample", min=1, max=options.MOST_IMAGES, help="Images to draw, balanced over classes.")
    ] = 512,
    seed: options.Seed = 0,
    list_path: Annotated[
        Path | None,
        typer.Option(
            "--list",
            metavar="FILE",
            help="Write the drawn images, a digest each, and stop there unless --out is given.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the calibrated ranges.")] = None,
    target: options.Targets = None,
    method: options.Method = "mse",
    bias_correction: options.BiasCorrection = True,
    round_weights: options.RoundWeights = True,
    weight_scales: options.WeightScales = "max",
    equalize: options.Equalize = False,
    skip_bad: options.SkipBad = False,
    image_size: options.ImageSize = None,
    resize: options.Resize = None,
    interpolation: options.Filter = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
    form: options.FormChoice = None,
    cache: options.Cache = True,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Draw calibration images, and save the ranges they give.

    Example:

    $ resnest-edge calibrate --images train/ --sample 512 --seed 0 --list calib/train-512.txt
    """
    from resnest_edge.cli.request import make_request
    from resnest_edge.pipeline.calibrate import calibrate

    if list_path is not None and out is None and (what is not None or weights is not None):
        raise UsageError(
            "a list of images belongs to no network", hint="Leave the network out, or give --out FILE for its ranges."
        )
    request = make_request({**locals(), "calib_images": sample, "precision": None})
    with progress_bars() as progress:
        result = calibrate(request, list_path, out, progress)
    for sign in result["warnings"]:
        warn(sign)
    if json:
        print_json(result)
        return
    note(f"{result['images']} images of {result['source']}")
    for key in ("list", "scales"):
        if result[key]:
            typer.echo(f"{key}: {result[key]}")
