"""`resnest-edge keygen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnest_edge.cli import options
from resnest_edge.cli.console import note, print_json


def command(
    name: Annotated[
        Path, typer.Argument(metavar="NAME", help="File of the private key; the public key's ends in .pub as well.")
    ],
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Make a pair of Ed25519 keys: one to sign bundles with, one to verify them with.

    Example:

    $ resnest-edge keygen release.key
    """
    from resnest_edge.signing import fingerprint, generate_keys

    public = generate_keys(name, force=force)
    made = {"private": str(name), "public": str(public), "fingerprint": fingerprint(public)}
    if json:
        print_json(made)
        return
    for key, value in made.items():
        typer.echo(f"{key}: {value}")
    note("The private key has no password: keep it where bundles are built. The public key goes to the devices.")
