"""`resnest-edge sensitivity`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnest_edge.cli import options
from resnest_edge.cli.console import note, number, print_json, print_table, progress_bars

if TYPE_CHECKING:
    from resnest_edge.search.sensitivity import LayerEffect

_SHOWN = 25


def command(
    what: options.Network = None,
    weights: options.Weights = None,
    images: options.Images = None,
    eval_images: options.EvalImages = None,
    count: Annotated[
        int, typer.Option("--count", min=1, max=options.MOST_IMAGES, help="Images to measure each layer on.")
    ] = 64,
    target: options.Targets = None,
    calib_images: options.CalibImages = 512,
    seed: options.Seed = 0,
    method: options.Method = "mse",
    bias_correction: options.BiasCorrection = True,
    round_weights: options.RoundWeights = True,
    weight_scales: options.WeightScales = "max",
    equalize: options.Equalize = False,
    weight_bits: options.WeightBits = None,
    image_size: options.ImageSize = None,
    resize: options.Resize = None,
    interpolation: options.Filter = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
    form: options.FormChoice = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Keep what was measured so far: an interrupted run goes on there."),
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Write a bar chart, SVG.")] = None,
    cache: options.Cache = True,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Measure what quantizing each layer alone does to the answers.

    Example:

    $ resnest-edge sensitivity resnest50 --weights my.pth --images train/ --eval-images val/ --out layers.json
    """
    from resnest_edge.cli.request import make_request
    from resnest_edge.files import refuse_existing, write_atomically
    from resnest_edge.pipeline.sensitivity import open_probe
    from resnest_edge.report.layer_plot import layer_plot
    from resnest_edge.search.sensitivity import Journal, layer_effects

    if plot is not None:
        refuse_existing(plot, force=force)
    request = make_request({**locals(), "precision": None, "out": None})
    with progress_bars() as progress:
        probe, identity = open_probe(request, count, progress)
        journal = None if out is None else Journal(out, identity)
        if journal is not None and not force and (done := journal.resume()):
            note(f"{out} holds {done} layers of this run already")
        effects = layer_effects(
            probe,
            known=journal.effects if journal else None,
            found=journal.add if journal else None,
            progress=progress,
        )
    title = f"{identity['model']} for {identity['target']}: each layer alone in INT8, {len(probe.labels)} images"
    if plot is not None:
        write_atomically(plot, layer_plot(title, [(effect.layer, effect.harm) for effect in effects]).encode())
    if json:
        print_json({**identity, "count": len(probe.labels), "layers": [asdict(effect) for effect in effects]})
        return
    columns = ("Layer", "Logit error, dB", "KL, nats", "Answers changed, %", "Top-1, points", "MMACs")
    rest = f"The {_SHOWN} most harmful of {len(effects)} layers." if len(effects) > _SHOWN else None
    print_table(title, columns, [_cells(effect) for effect in effects[:_SHOWN]], caption=rest)


def _cells(effect: LayerEffect) -> tuple[str, ...]:
    from math import log10

    return (
        effect.layer,
        number(10 * log10(effect.harm) if effect.harm > 0 else None, 1),
        f"{effect.kl:.2e}",
        number(effect.changed),
        number(effect.top1_change, sign=True),
        number(effect.macs / 1e6, 1),
    )
