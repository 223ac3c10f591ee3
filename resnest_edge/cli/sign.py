"""`resnest-edge sign`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnest_edge.cli import options
from resnest_edge.cli.console import print_json


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle to sign; it is verified first.")],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="Private key, as `keygen` makes it.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a signature that is there.")] = False,
    json: options.Json = False,
) -> None:
    """Sign a bundle: its manifest, and with it the SHA-256 of every file.

    Example:

    $ resnest-edge sign engines/cam --key release.key
    """
    from resnest_edge.bundle import SIGNATURE, sign_bundle
    from resnest_edge.signing import fingerprint

    signed = sign_bundle(bundle, key, force=force)
    made = {"bundle": str(bundle), "signature": str(signed.path / SIGNATURE), "fingerprint": fingerprint(key)}
    if json:
        print_json(made)
        return
    typer.echo(f"{made['signature']}: signed with the key {made['fingerprint']}")
