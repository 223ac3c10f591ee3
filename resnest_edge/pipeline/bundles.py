"""Typed graph to bundle: the engine built in a temporary folder that takes its name when everything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_edge import environment
from resnest_edge.backends.base import Backend, BuildOptions
from resnest_edge.bundle import MODEL, Bundle, Manifest, open_bundle, write_bundle
from resnest_edge.class_names import encode_names
from resnest_edge.errors import UsageError
from resnest_edge.files import new_folder
from resnest_edge.spec import Preprocessing, Target

if TYPE_CHECKING:
    from resnest_edge.pipeline.typed import TypedGraph


@dataclass(frozen=True)
class Origin:
    """What a bundle records of where it came from."""

    preprocessing: Preprocessing
    labels: tuple[str, ...]
    calibration: Mapping[str, Any] | None = None
    parents: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None


def export_bundle(typed: TypedGraph, origin: Origin, *, target: Target, out: Path, force: bool) -> Bundle:
    """Write a bundle without an engine: what the workstation hands to the device.

    Raises:
        OutputError: ``out`` exists, or cannot be written.
    """
    return _write(typed, target, origin, out, force=force, backend=None, options=BuildOptions())


def build_bundle(
    typed: TypedGraph, backend: Backend, origin: Origin, out: Path, *, force: bool, options: BuildOptions
) -> Bundle:
    """Build a typed graph's engine and write the bundle.

    Raises:
        OutputError: ``out`` exists, or cannot be written.
        GraphError: the runtime cannot build the graph.
        UnavailableError: the runtime is not here.
    """
    return _write(typed, backend.target, origin, out, force=force, backend=backend, options=options)


def rebuild_bundle(exported: Bundle, backend: Backend, out: Path, *, force: bool, options: BuildOptions) -> Bundle:
    """Build the engine of a bundle that another machine exported; needs neither torch nor onnx.

    Raises:
        UsageError: the bundle was exported for another kind of target.
        BundleDamagedError: its graph was changed after the bundle was opened.
        OutputError, GraphError, UnavailableError: as :func:`build_bundle`.
    """
    manifest = exported.manifest
    _check_retarget(exported, backend.target)
    with new_folder(out, force=force) as folder:
        exported.copy_file(MODEL, folder / MODEL)
        built = backend.build(folder / MODEL, manifest.info, options, folder)
        complete = Manifest(
            **{
                **vars(manifest),
                "target": backend.target,
                "engine": built.files[0],
                "precision_run": built.precision_run,
                "runtime": backend.version(),
                "machine": environment.describe(),
                "details": built.details,
                "parents": {**manifest.parents, "bundle": manifest.files[MODEL]},
            }
        )
        write_bundle(folder, complete, exported.labels)
    return open_bundle(out)


def class_labels(names: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """One label a class: the image set's class names where they fit, else the class numbers.

    Raises:
        InputError: a class name that the bundle's list of labels cannot hold.
    """
    encode_names(names)  # before work that would be lost
    return tuple(names) if len(names) == num_classes else tuple(str(index) for index in range(num_classes))


def _write(
    typed: TypedGraph,
    target: Target,
    origin: Origin,
    out: Path,
    *,
    force: bool,
    backend: Backend | None,
    options: BuildOptions,
) -> Bundle:
    from resnest_edge.graph.model import save_graph

    with new_folder(out, force=force) as folder:
        save_graph(typed.model, folder / MODEL)
        built = backend.build(folder / MODEL, typed.info, options, folder) if backend is not None else None
        manifest = Manifest(
            info=typed.info,
            preprocessing=origin.preprocessing,
            target=target,
            engine=built.files[0] if built else None,
            precision_run=built.precision_run if built else None,
            runtime=backend.version() if backend else None,
            machine=environment.describe(),
            calibration=origin.calibration,
            layers=typed.layers,
            details=built.details if built else {},
            parents=origin.parents,
            command=origin.command,
        )
        write_bundle(folder, manifest, origin.labels)
    return open_bundle(out)


def _check_retarget(exported: Bundle, target: Target) -> None:
    """An INT8 graph is placed for one kind of target; floats go anywhere."""
    style = exported.manifest.info.style
    if style is None or exported.manifest.target is target:
        return
    family = {Target.TENSORRT: "tensorrt", Target.TENSORRT_RTX: "tensorrt"}
    if family.get(exported.manifest.target, exported.manifest.target) != family.get(target, target):
        raise UsageError(
            f"{exported.path} was quantized for {exported.manifest.target}, not for {target}",
            hint=f"Export it with --target {target}.",
        )
