"""`resnest-edge export`."""

from __future__ import annotations

from resnest_edge.cli import options
from resnest_edge.cli.console import note, print_json, print_table, progress_bars, warn
from resnest_edge.spec import InputFormat


def command(
    what: options.Network = None,
    weights: options.Weights = None,
    num_classes: options.NumClasses = None,
    precision: options.Precisions = None,
    target: options.Targets = None,
    images: options.Images = None,
    calib_images: options.CalibImages = 512,
    seed: options.Seed = 0,
    method: options.Method = "mse",
    bias_correction: options.BiasCorrection = True,
    round_weights: options.RoundWeights = True,
    weight_scales: options.WeightScales = "max",
    equalize: options.Equalize = False,
    scales: options.ScalesFile = None,
    weight_bits: options.WeightBits = None,
    skip_bad: options.SkipBad = False,
    image_size: options.ImageSize = None,
    resize: options.Resize = None,
    interpolation: options.Filter = None,
    mean: options.Mean = None,
    std: options.Std = None,
    color: options.Color = None,
    form: options.FormChoice = None,
    batch: options.Batch = None,
    input_format: options.Format = InputFormat.UINT8_NHWC,
    out: options.Out = None,
    cache: options.Cache = True,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Write a bundle with the typed ONNX graph, for a device that builds its own engine.

    Example:

    $ resnest-edge export resnest50 --weights my.pth --images train/ --precision int8 --target tensorrt
    """
    from resnest_edge.cli.request import make_request
    from resnest_edge.pipeline.export import export

    request, signs = make_request(locals()), list[str]()
    with progress_bars() as progress:
        bundles = export(request, progress, signs.append)
    for sign in signs:
        warn(sign)
    rows = [
        {"bundle": str(b.path), "target": b.manifest.target.value, "precision": b.manifest.info.precision.value}
        for b in bundles
    ]
    if json:
        print_json({"results": rows, "warnings": signs})
        return
    print_table("Exported", ("Bundle", "Target", "Precision"), [tuple(row.values()) for row in rows])
    note(f"On the device: resnest-edge build {rows[0]['bundle']} --target {rows[0]['target']} --out DIR")
