"""`resnest-edge sweep`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resnest_edge.cli import benchmark, options
from resnest_edge.cli.console import note, print_json, print_table, progress_bars, stacked, warn
from resnest_edge.cli.typed import typed_command
from resnest_edge.errors import SweepError, UsageError
from resnest_edge.spec import Form, Precision

if TYPE_CHECKING:
    from resnest_edge.search.sweep import Runner, Settings
    from resnest_edge.search.sweep_journal import Journal, SweepRow


def command(
    variants: Annotated[
        list[str] | None,
        typer.Argument(metavar="VARIANT...", help="Networks; the embedded demo model if none is named."),
    ] = None,
    weights: options.Weights = None,
    num_classes: options.NumClasses = None,
    image_size: Annotated[
        list[int] | None,
        typer.Option(
            "--image-size",
            min=32,
            max=options.LARGEST_SIDE,
            help="Pixels; may be given several times. (default: each network's own)",
        ),
    ] = None,
    form: Annotated[
        list[Form] | None,
        typer.Option(
            "--form",
            parser=Form.parse,
            autocompletion=options.complete_form,
            metavar=options.FORMS,
            help="Inference form, as for `build`; may be given several times. (default: split)",
        ),
    ] = None,
    target: options.Targets = None,
    precision: options.Precisions = None,
    images: options.Images = None,
    eval_images: Annotated[
        str | None,
        typer.Option("--eval-images", metavar="DIR|LIST", help="Labelled images to measure accuracy on, if any."),
    ] = None,
    calib_images: options.CalibImages = 512,
    seed: options.Seed = 0,
    method: options.Method = "mse",
    batch: benchmark.Batches = None,
    streams: benchmark.Streams = None,
    threads: benchmark.Threads = None,
    rounds: benchmark.Rounds = 10,
    seconds: benchmark.Seconds = 1.0,
    warmup: benchmark.Warmup = 1.0,
    ray: Annotated[
        bool, typer.Option("--ray", help="Spread the cells over a Ray cluster: one on a node at a time.")
    ] = False,
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address", metavar="ADDRESS|auto", help="Which cluster. (default: one of this machine alone)"
        ),
    ] = None,
    keep_engines: Annotated[
        bool, typer.Option("--keep-engines", help="Keep every engine, in engines/ below --out.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run the cells again that failed before.")
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the table grows; a sweep that stopped goes on there.")
    ] = Path("reports/sweep"),
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Build and measure every combination of networks, sizes, forms, targets and precisions: one table.

    A sweep that was interrupted goes on where it stopped. A cell that fails is a row with its reason, and the exit
    code is 1.

    Example:

    $ resnest-edge sweep resnest50 resnest101 --weights none --precision fp32 --precision int8 --batch 1 --batch 8
    """
    from resnest_edge.measure.latency import Plan
    from resnest_edge.pipeline.runtimes import default_target
    from resnest_edge.search.sweep import Settings, choose_images, make_cells, sweep
    from resnest_edge.search.sweep_table import sweep_table, write_pages

    names, precisions = variants or [], precision or [Precision.INT8]
    chosen, notes = choose_images(names, weights, images, precisions)
    cells = make_cells(names, image_size or [], form or [Form.SPLIT], target or [default_target()], precisions)
    batches, flights = tuple(batch or [1]), tuple(streams or [1])
    settings = Settings(
        weights=weights,
        num_classes=num_classes,
        images=chosen,
        eval_images=eval_images,
        calib_images=calib_images,
        seed=seed,
        method=method,
        plan=Plan(batches, flights, threads, rounds, seconds, warmup),
        engines=out.resolve() / "engines" if keep_engines else None,
    )
    runner = _runner(ray, ray_address, keep_engines)
    journal = _journal(out, settings, notes, cluster=ray, force=force)
    with progress_bars() as progress:
        rows = sweep(cells, settings, journal, runner, retry_failed=retry_failed, found=_tell, progress=progress)
    pages = write_pages(journal.file(), rows, out)
    if json:
        print_json({**journal.file().to_json(), "rows": [asdict(row) for row in rows]})
    else:
        shown = sweep_table(rows)
        lines = [[stacked(cell.value, cell.detail) for cell in row] for row in shown.rows]
        print_table("Sweep", shown.headings, lines, caption=shown.caption)
    note("Written: " + ", ".join(str(path) for path in (journal.path, *pages)))
    _refuse_failures(rows)


def _refuse_failures(rows: Sequence[SweepRow]) -> None:
    """Raise SweepError where a cell failed."""
    if failed := [row for row in rows if row.failed]:
        raise SweepError(
            f"{len(failed)} of {len(rows)} cells failed, each with its reason in the table",
            hint="Mend what they name, and repeat the command with --retry-failed.",
        )


def _runner(ray: bool, address: str | None, keep_engines: bool) -> Runner:
    """Where the cells run.

    Raises:
        UsageError: an address without --ray, or engines kept on machines of which this is only one.
    """
    if not ray:
        if address is not None:
            raise UsageError("--ray-address says which cluster --ray uses", hint="Add --ray.")
        from resnest_edge.search.local_cells import LocalCells

        return LocalCells()
    if keep_engines:
        raise UsageError("--keep-engines would leave engines on every node of the cluster", hint="Leave it out.")
    from resnest_edge.search.ray_cells import RayCells

    return RayCells(address)


def _journal(out: Path, settings: Settings, notes: list[str], *, cluster: bool, force: bool) -> Journal:
    """The rows of an earlier run, unless --force begins anew."""
    from datetime import datetime, timezone

    from resnest_edge import environment
    from resnest_edge.search.sweep import identity
    from resnest_edge.search.sweep_journal import Journal, SweepFile

    begun = SweepFile(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=typed_command(),
        identity=identity(settings, cluster=cluster),
        environment=environment.describe(),
        notes=tuple(notes),
        rows=(),
    )
    journal = Journal(out, begun)
    for text in notes:
        note(text)
    if not force and (count := journal.resume()):
        note(f"{journal.path} holds {count} cells of this sweep already")
    return journal


def _tell(row: SweepRow) -> None:
    """Say on stderr what each cell came to, while the rest go on."""
    where = f"{row.variant} {row.image_size} {row.form} {row.target} {row.precision}"
    if row.failed:
        warn(f"{where}: failed: {row.reason}")
        return
    best = max(row.results, key=lambda result: float(result["images_per_second"]))
    note(f"{where}: {best['images_per_second']:.1f} images/s at batch {best['batch']}")
