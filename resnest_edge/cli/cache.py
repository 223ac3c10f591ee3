"""`resnest-edge cache`."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated

import typer

from resnest_edge.cli import options
from resnest_edge.cli.console import number, print_json, print_table


def command(
    clear: Annotated[bool, typer.Option("--clear", help="Remove what is kept; later builds start over.")] = False,
    json: options.Json = False,
) -> None:
    """List what builds keep for later builds, or remove it.

    It is in $RESNEST_EDGE_CACHE/stages, else in the user's cache folder, and takes 4 GiB at most: what was used least
    recently makes room.

    Example:

    $ resnest-edge cache --clear
    """
    from resnest_edge.stage_cache import StageCache, stages_folder

    cache = StageCache(stages_folder())
    entries = cache.clear() if clear else cache.entries()
    if json:
        found = [
            {"entry": one.path.name, "about": one.about, "size_bytes": one.size_bytes, "used": _when(one.used)}
            for one in entries
        ]
        print_json({"folder": str(cache.folder), "cleared": clear, "entries": found})
        return
    total = sum(one.size_bytes for one in entries) / 2**20
    rows = [(one.about or one.path.name, number(one.size_bytes / 2**20, 1), _when(one.used)) for one in entries]
    caption = f"{cache.folder}: {total:.1f} MiB"
    print_table("Removed" if clear else "Kept", ("What", "MiB", "Last used"), rows, caption=caption)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
