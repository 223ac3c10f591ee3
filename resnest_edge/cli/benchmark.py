"""`resnest-edge benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resnest_edge.cli import options
from resnest_edge.cli.console import note, number, print_json, print_table, progress_bars, warn
from resnest_edge.spec import MOST_BATCH

Batches = Annotated[
    list[int] | None,
    typer.Option(
        "--batch", min=1, max=MOST_BATCH, help="Images per inference; may be given several times. (default: 1)"
    ),
]
Streams = Annotated[
    list[int] | None,
    typer.Option("--streams", min=1, max=1024, help="Inferences in flight; may be given several times. (default: 1)"),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=4096, help="CPU threads in all. (default: every core)")
]
Rounds = Annotated[
    int, typer.Option("--rounds", min=1, max=1_000_000, help="How often every engine gets its slice of time.")
]
Seconds = Annotated[float, typer.Option("--seconds", min=0.01, max=3600.0, help="Length of one slice.")]
Warmup = Annotated[
    float, typer.Option("--warmup", min=0.0, max=3600.0, help="Seconds each engine runs before anything counts.")
]


def command(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Engines; ratios are against the first.")],
    batch: Batches = None,
    streams: Streams = None,
    threads: Threads = None,
    rounds: Rounds = 10,
    seconds: Seconds = 1.0,
    warmup: Warmup = 1.0,
    images: Annotated[
        str | None, typer.Option("--images", metavar="DIR|LIST", help="Images to feed; noise if not given.")
    ] = None,
    trust: options.Trust = None,
    json: options.Json = False,
) -> None:
    """Measure latency and throughput of engines side by side, interleaved in one run.

    Example:

    $ resnest-edge benchmark engines/fp32 engines/int8 --batch 1 --batch 8
    """
    from resnest_edge.measure.latency import Plan
    from resnest_edge.pipeline.benchmark import benchmark_paths

    plan = Plan(
        batches=tuple(batch or [1]),
        streams=tuple(streams or [1]),
        threads=threads,
        rounds=rounds,
        seconds=seconds,
        warmup=warmup,
    )
    with progress_bars() as progress:
        measured = benchmark_paths(bundles, plan, images=images, trust=trust, progress=progress)
    for text in measured.warnings:
        warn(text)
    value = measured.to_json()
    if json:
        print_json(value)
        return
    _print_speed(value["results"])
    for row in value["results"]:
        if row["trtexec"] is not None:
            note(f"{row['bundle']} at batch {row['batch']}, with the runtime's own tool: {row['trtexec']}")
    if value["ratios"]:
        print_table(
            f"Throughput against {bundles[0]}",
            ("Bundle", "Batch", "Streams", "Ratio", "Rounds' range"),
            [_ratio(row) for row in value["ratios"]],
        )


_COLUMNS = ("Bundle", "Precision", "Batch", "Streams", "p50, ms", "p90", "p95", "p99", "Images/s", "CV, %", "RSS, MiB")
_POWER_COLUMNS = ("W", "Images/J")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    latency = row["latency_ms"]
    return (
        row["bundle"],
        row["precision"],
        str(row["batch"]),
        str(row["streams"]),
        *(number(latency[key]) for key in ("p50", "p90", "p95", "p99")),
        number(row["images_per_second"], 1),
        "–" if row["cv"] is None else number(100 * row["cv"], 1),
        number(row["peak_rss_mib"], 0),
    )


def _print_speed(results: list[dict[str, Any]]) -> None:
    """The power columns are there when anything told power, and a line says what did, or why nothing could."""
    told = any(row["power_w"] is not None for row in results)
    power = [(number(row["power_w"], 1), number(row["images_per_joule"])) if told else () for row in results]
    columns = (*_COLUMNS, *_POWER_COLUMNS) if told else _COLUMNS
    print_table("Speed", columns, [(*_cells(row), *cells) for row, cells in zip(results, power, strict=True)])
    _tell_power(results)


def _tell_power(results: list[dict[str, Any]]) -> None:
    for source in dict.fromkeys(row["power_source"] for row in results if row["power_source"]):
        note(f"Power: {source}.")
    for reason in dict.fromkeys(row["power_reason"] for row in results if row["power_reason"]):
        note(f"No power figures: {reason}.")


def _ratio(row: dict[str, Any]) -> tuple[str, ...]:
    speedup = row["speedup"]
    spread = f"{speedup['min']:.2f} to {speedup['max']:.2f}"
    return (row["bundle"], str(row["batch"]), str(row["streams"]), number(speedup["median"]), spread)
