"""`resnest-edge verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resnest_edge.cli import options
from resnest_edge.cli.console import note, print_json


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle to verify.")],
    trust: options.Trust = None,
    json: options.Json = False,
) -> None:
    """Verify every byte of a bundle against its manifest, and with --trust who signed it.

    Example:

    $ resnest-edge verify engines/cam --trust release.key.pub
    """
    from resnest_edge.bundle import SIGNATURE, open_bundle
    from resnest_edge.signing import fingerprint

    opened = open_bundle(bundle, trust=trust)
    value: dict[str, Any] = {
        "bundle": str(bundle),
        "files": len(opened.manifest.files),
        "signed": (bundle / SIGNATURE).is_file(),
        "trusted": None if trust is None else fingerprint(trust),
    }
    if json:
        print_json(value)
        return
    typer.echo(f"{bundle}: {value['files']} files as the manifest says")
    if trust is not None:
        typer.echo(f"{bundle}: signed with the key {value['trusted']}")
    elif value["signed"]:
        note("It is signed. To learn whether by somebody you trust: --trust PUBLIC_KEY.")
    else:
        note("It is not signed: whoever can write to it could have changed both the files and the manifest.")
