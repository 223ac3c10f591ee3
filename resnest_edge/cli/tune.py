"""`resnest-edge tune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from resnest_edge.cli import benchmark, options
from resnest_edge.cli.console import interval, note, number, print_json, print_table, progress_bars, stacked
from resnest_edge.spec import MOST_BATCH, Precision, Target

if TYPE_CHECKING:
    from resnest_edge.pipeline.tunings import Record, Trial


def command(
    what: options.Network = None,
    weights: options.Weights = None,
    num_classes: options.NumClasses = None,
    precision: Annotated[Precision, typer.Option("--precision", help="Number format.")] = Precision.INT8,
    target: Annotated[
        Target | None,
        typer.Option("--target", help="Runtime. (default: openvino where it is installed, else onnxruntime)"),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=MOST_BATCH, help="Images per inference.")] = 1,
    threads: benchmark.Threads = None,
    rounds: benchmark.Rounds = 12,
    seconds: benchmark.Seconds = 0.5,
    warmup: benchmark.Warmup = 0.5,
    max_loss: Annotated[
        float | None,
        typer.Option(
            "--max-loss",
            metavar="DB",
            min=0.0,
            max=1000.0,
            help="Try other placements of INT8 as well: those shown to lose no more of the logits' SQNR than this.",
        ),
    ] = None,
    images: options.Images = None,
    eval_images: options.EvalImages = None,
    calib_images: options.CalibImages = 64,
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
    cache: options.Cache = True,
    force: Annotated[
        bool, typer.Option("--force", help="Measure again, and replace what was measured before.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Measure the equal forms of each stage on this device, and keep the fastest for `build --tuned`.

    Forms compute the same, which is checked in float64 each time. What is found is kept for this device, runtime
    version, network, image size, batch and precision.

    Example:

    $ resnest-edge tune resnest50 --weights my.pth --images train/ --precision int8 --target openvino
    """
    from resnest_edge.cli.request import make_request
    from resnest_edge.measure.latency import Plan
    from resnest_edge.pipeline.tunings import record_path
    from resnest_edge.search.tuning import TuneRequest, tune_network

    given = {**locals(), "precision": [precision], "target": [target] if target else None, "batch": None}
    plan = Plan((batch,), (1,), threads, rounds, seconds, warmup)
    with progress_bars() as progress:
        record, new = tune_network(TuneRequest(make_request(given), plan, max_loss, force), progress)
    path = record_path(record.key)
    if not new:
        note(f"Measured on {record.created[:10]}; --force measures again")
    if json:
        print_json({**record.to_json(), "file": str(path), "measured_now": new})
        return
    _print(record)
    note(f"Kept in {path}; `resnest-edge build --tuned` takes it")


def _print(record: Record) -> None:
    key = record.key
    title = f"{key.network} at {key.image_size} pixels, {key.target} {key.precision}, batch {key.batch}"
    print_table(title, _COLUMNS, [_cells(trial) for trial in record.trials], caption=_outcome(record))


def _outcome(record: Record) -> str:
    if record.ratio is None:
        return f"Chosen: {record.choice}; nothing was faster."
    bounds = interval(record.ratio_ci95, 3)
    return f"Chosen: {record.choice}, {record.ratio:.3f} {bounds} of the time of {record.begun_with}."


_COLUMNS = ("Varied", "Candidate", "ms, and the incumbent's", "Ratio", "SQNR, dB", "")


def _cells(trial: Trial) -> tuple[str, ...]:
    return (
        trial.axis,
        " ".join([trial.form, *trial.placement]),
        stacked(number(trial.ms), number(trial.against_ms)),
        stacked(number(trial.ratio, 3), interval(trial.ratio_ci95, 3)),
        stacked(number(trial.sqnr_change_db, sign=True), interval(trial.sqnr_change_ci95, sign=True)),
        f"chosen: {trial.why}" if trial.chosen else trial.why,
    )
