"""`resnest-edge inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resnest_edge.cli import options
from resnest_edge.cli.console import note, number, print_json, print_table, warn


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle to open.")],
    trust: options.Trust = None,
    json: options.Json = False,
) -> None:
    """Show what a bundle is, and the precision each of its layers really runs in.

    Example:

    $ resnest-edge inspect engines/int8
    """
    from resnest_edge.pipeline.inspection import inspect_path, summarise

    found = inspect_path(bundle, trust=trust)
    if found.reason is not None:
        note(f"What the layers run in is not shown: {found.reason}")
    for text in found.warnings:
        warn(text)
    value = found.to_json()
    if json:
        print_json(value)
        return
    print_table(str(bundle), ("", ""), _facts(value))
    print_table("The model's layers", _COLUMNS, [_layer(row) for row in value["layers"]])
    if found.engine_layers:
        print_table(
            "Everything the engine runs",
            ("Kind", "Precision", "Layers", "ms"),
            [
                (row["kind"], row["precision"], str(row["layers"]), number(row["milliseconds"], 3))
                for row in summarise(found.engine_layers)
            ],
            caption="Times are of one inference, with the runtime's profiler on.",
        )
    for name, line in (value["trtexec"] or {}).items():
        note(f"To {name} it with the runtime's own tool: {line}")


_COLUMNS = ("Layer", "Asked", "Runs in", "As", "Kernel", "ms")


def _facts(value: dict[str, Any]) -> list[tuple[str, str]]:
    graph, precision, calibration = value["graph"], value["precision"], value["calibration"]
    around = "" if graph["float_type"] == graph["precision"] else f", {graph['float_type']} around it"
    return [
        ("Model", " ".join(word for word in (graph["name"], graph["form"] or "") if word)),
        ("Target", " ".join(word for word in (value["target"], value["runtime"] or "") if word)),
        ("Precision asked", f"{precision['asked']}{around}"),
        ("Precision run", precision["run"] or "not built yet"),
        *((f"Input {spec['name']}", _spec(spec)) for spec in value["inputs"]),
        *((f"Output {spec['name']}", _spec(spec)) for spec in value["outputs"]),
        ("Batch", graph["batch"]),
        ("Engine", f"{value['engine'] or 'none'}, {_mib(value['size_bytes'])}"),
        ("Typed graph", _mib(value["model_bytes"])),
        ("Calibration", _calibration(calibration)),
        ("Built on", _place(value)),
        *((f"Parent {name}", digest) for name, digest in value["parents"].items()),
        ("Command", value["command"] or "unknown"),
    ]


def _layer(row: dict[str, Any]) -> tuple[str, ...]:
    missed = row["asked"] == "int8" and row["runs"] not in ("int8", None)
    runs = f"{row['runs']} !" if missed else row["runs"] or "unknown"
    return (row["name"], row["asked"], runs, row["kind"], row["kernel"], number(row["milliseconds"], 3))


def _place(value: dict[str, Any]) -> str:
    """The GPU that a TensorRT engine was built on, or the CPU that wrote the bundle."""
    built = value["details"].get("built_for") or {}
    if built.get("gpu"):
        return f"{built['gpu']}, compute capability {built['compute_capability']}, CUDA {built['cuda']}"
    return str(value["machine"].get("cpu") or "unknown")


def _calibration(record: dict[str, Any] | None) -> str:
    return "none" if record is None else f"{record['method']}, {record['images']} images"


def _spec(spec: dict[str, Any]) -> str:
    shape = "×".join(map(str, spec["shape"]))
    return f"{spec['dtype']} {shape} {spec['layout']}".strip()


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
