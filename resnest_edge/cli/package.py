"""`resnest-edge package`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnest_edge.cli import options
from resnest_edge.cli.console import print_json, print_table
from resnest_edge.packaging.names import Consumer


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle to package.")],
    consumer: Annotated[Consumer, typer.Option("--for", help="The program that will use it.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to write; BUNDLE-PROGRAM if not given.")
    ] = None,
    force: options.Force = False,
    trust: options.Trust = None,
    json: options.Json = False,
) -> None:
    """Lay a bundle out as DeepStream, a model server or an ONNX Runtime program takes it.

    Example:

    $ resnest-edge package engines/cam --for triton --out repository
    """
    from resnest_edge.packaging.package import package

    made = package(bundle, consumer, out, force=force, trust=trust)
    if json:
        print_json(made.to_json())
        return
    print_table(f"{made.path}, for {made.consumer}", ("File",), [(name,) for name in made.files])
