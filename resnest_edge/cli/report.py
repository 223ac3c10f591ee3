"""`resnest-edge report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnest_edge.cli import benchmark, comparison, options
from resnest_edge.cli.console import note, print_json, print_table, progress_bars, stacked, warn
from resnest_edge.cli.typed import typed_command
from resnest_edge.errors import UsageError

if TYPE_CHECKING:
    from resnest_edge.report.schema import Report


def command(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE...|REPORT.JSON",
            help="Engines, the reference first; or a report to render again, or two to --compare.",
        ),
    ],
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare two reports, OLD.JSON NEW.JSON, instead of measuring.")
    ] = False,
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on",
            metavar="METRIC>LIMIT,...",
            help="With --compare: exit 1 where a metric became worse by more, as in 'drop>0.3,latency>5%'.",
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option("--images", metavar="DIR|LIST", help="Labelled images to measure accuracy on; also demo:test."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where the pages are written. (default: reports/latest; with --compare, nowhere)",
        ),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="Heading of the report.")] = None,
    batch: benchmark.Batches = None,
    streams: benchmark.Streams = None,
    threads: benchmark.Threads = None,
    rounds: benchmark.Rounds = 10,
    seconds: benchmark.Seconds = 1.0,
    warmup: benchmark.Warmup = 1.0,
    layers: Annotated[
        bool, typer.Option("--layers/--no-layers", help="Show what each layer runs in and how long it takes.")
    ] = True,
    sensitivity: Annotated[
        Path | None,
        typer.Option("--sensitivity", metavar="FILE", help="Show what `sensitivity --out` measured of this model."),
    ] = None,
    published: Annotated[
        bool,
        typer.Option("--published", help="Show figures published of ResNeSt and EfficientNet, in grey and apart."),
    ] = False,
    skip_bad: options.SkipBad = False,
    trust: options.Trust = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Measure engines and write one page about them: JSON, Markdown, self-contained HTML.

    Example:

    $ resnest-edge report engines/fp32 engines/int8 --images imagenet/val --out reports/mine

    $ resnest-edge report --compare old/report.json new/report.json --fail-on 'drop>0.3,latency>5%'
    """
    if compare:
        idle = {"--images": images, "--title": title, "--sensitivity": sensitivity, "--batch": batch}
        comparison.run(bundles, fail_on, idle, out=out, force=force, json=json)
        return
    if fail_on is not None:
        raise UsageError("--fail-on says when --compare fails", hint="Give --compare OLD.JSON NEW.JSON.")
    from resnest_edge.measure.latency import Plan
    from resnest_edge.pipeline.report import ReportRequest, report

    request = ReportRequest(
        paths=tuple(bundles),
        out=out or Path("reports/latest"),
        images=images,
        plan=Plan(tuple(batch or [1]), tuple(streams or [1]), threads, rounds, seconds, warmup),
        title=title,
        command=typed_command(),
        skip_bad=skip_bad,
        trust=trust,
        force=force,
        layers=layers,
        sensitivity=sensitivity,
        published=published,
    )
    with progress_bars() as progress:
        made, files = report(request, progress)
    for text in made.warnings:
        warn(text)
    if json:
        print_json(made.to_json())
    else:
        _print(made, files)


def _print(made: Report, files: Sequence[Path]) -> None:
    """The table, the headline, and where the pages are."""
    from resnest_edge.report.table import table
    from resnest_edge.report.words import evidence, headline

    shown = table(made)
    cells = [[stacked(cell.value, cell.detail) for cell in row] for row in shown.rows]
    print_table(made.title, shown.headings, cells, caption=shown.caption)
    typer.echo(headline(made))
    typer.echo(evidence(made))
    note("Written: " + ", ".join(str(path) for path in files))
