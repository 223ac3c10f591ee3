"""`resnest-edge report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnest_edge.cli import benchmark, options
from resnest_edge.cli.console import note, print_json, print_table, progress_bars, stacked, warn
from resnest_edge.cli.typed import typed_command


def command(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE...|REPORT.JSON", help="Engines, the reference first; or a report to render again."
        ),
    ],
    images: Annotated[
        str | None,
        typer.Option("--images", metavar="DIR|LIST", help="Labelled images to measure accuracy on; also demo:test."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the pages are written.")] = Path(
        "reports/latest"
    ),
    title: Annotated[str | None, typer.Option("--title", help="Heading of the report.")] = None,
    batch: benchmark.Batches = None,
    streams: benchmark.Streams = None,
    threads: benchmark.Threads = None,
    rounds: benchmark.Rounds = 10,
    seconds: benchmark.Seconds = 1.0,
    warmup: benchmark.Warmup = 1.0,
    skip_bad: options.SkipBad = False,
    trust: options.Trust = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Measure engines and write one page about them: JSON, Markdown, self-contained HTML.

    Example:

    $ resnest-edge report engines/fp32 engines/int8 --images imagenet/val --out reports/mine
    """
    from resnest_edge.measure.latency import Plan
    from resnest_edge.pipeline.report import ReportRequest, report

    request = ReportRequest(
        paths=tuple(bundles),
        out=out,
        images=images,
        plan=Plan(
            batches=tuple(batch or [1]),
            streams=tuple(streams or [1]),
            threads=threads,
            rounds=rounds,
            seconds=seconds,
            warmup=warmup,
        ),
        title=title,
        command=typed_command(),
        skip_bad=skip_bad,
        trust=trust,
        force=force,
    )
    with progress_bars() as progress:
        made, files = report(request, progress)
    for text in made.warnings:
        warn(text)
    if json:
        print_json(made.to_json())
        return
    from resnest_edge.report.table import table
    from resnest_edge.report.words import evidence, headline

    shown = table(made)
    cells = [[stacked(cell.value, cell.detail) for cell in row] for row in shown.rows]
    print_table(made.title, shown.headings, cells, caption=shown.caption)
    typer.echo(headline(made))
    typer.echo(evidence(made))
    note("Written: " + ", ".join(str(path) for path in files))
