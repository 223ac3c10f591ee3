"""The Typer application: one verb a file, none of which imports anything heavy before it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from resnest_edge.cli import (
    benchmark,
    build,
    cache,
    calibrate,
    doctor,
    evaluate,
    export,
    finetune,
    inspect,
    keygen,
    models,
    package,
    report,
    run,
    sensitivity,
    sign,
    sweep,
    tune,
    verify,
)

app = typer.Typer(
    name="resnest-edge",
    help="From a ResNeSt checkpoint to an engine whose speed and accuracy were measured.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"resnest-edge {version('resnest-edge')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """From a ResNeSt checkpoint to an engine whose speed and accuracy were measured."""


for module in (
    doctor,
    models,
    export,
    calibrate,
    build,
    evaluate,
    benchmark,
    sensitivity,
    sweep,
    tune,
    finetune,
    inspect,
    report,
    run,
    package,
    keygen,
    sign,
    verify,
    cache,
):
    app.command(name=module.__name__.rpartition(".")[2])(module.command)
