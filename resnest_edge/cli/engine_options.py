"""The options of `build` that TensorRT's builder takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resnest_edge.cli.options import ENGINE

Workspace = Annotated[
    int | None,
    typer.Option(
        "--workspace", metavar="MIB", min=1, max=2**20, help="TensorRT: scratch memory.", rich_help_panel=ENGINE
    ),
]
Level = Annotated[
    int | None,
    typer.Option("--optimization-level", min=0, max=5, help="TensorRT: builder effort.", rich_help_panel=ENGINE),
]
Capabilities = Annotated[
    list[str] | None,
    typer.Option(
        "--compute-capability", metavar="X.Y", help="TensorRT-RTX: GPUs to build for.", rich_help_panel=ENGINE
    ),
]
TimingCache = Annotated[
    Path | None,
    typer.Option(
        "--timing-cache",
        metavar="FILE",
        help="TensorRT: measured tactics, read if there and written after; one file a version and GPU.",
        rich_help_panel=ENGINE,
    ),
]
VersionCompatible = Annotated[
    bool,
    typer.Option(
        "--version-compatible",
        help="TensorRT: an engine for later versions too; slower, and it carries code that loading runs.",
        rich_help_panel=ENGINE,
    ),
]
HardwareCompatibility = Annotated[
    str | None,
    typer.Option(
        "--hardware-compatibility",
        metavar="ampere-plus|same-compute-capability",
        help="TensorRT: an engine for other GPUs too; slower.",
        rich_help_panel=ENGINE,
    ),
]
DlaCore = Annotated[
    int | None,
    typer.Option(
        "--dla-core",
        metavar="N",
        min=0,
        max=7,
        help="TensorRT on a Jetson with one: build for this DLA core; the GPU takes what it cannot run.",
        rich_help_panel=ENGINE,
    ),
]
Refittable = Annotated[
    bool,
    typer.Option("--refittable", help="TensorRT: an engine whose weights can be replaced.", rich_help_panel=ENGINE),
]
Stripped = Annotated[
    bool,
    typer.Option(
        "--stripped",
        help="TensorRT: an engine without weights, which loading takes from the bundle's graph.",
        rich_help_panel=ENGINE,
    ),
]
