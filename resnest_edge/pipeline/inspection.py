"""`inspect`: what a bundle is, and what its runtime made of each of the model's layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnest_edge.backends.inspection import EngineLayer, ModelLayer, find_warnings, map_layers
from resnest_edge.bundle import Bundle, in_custody, open_bundle
from resnest_edge.errors import BundleMisfitError, UnavailableError
from resnest_edge.spec import Target

TENSORRT = (Target.TENSORRT, Target.TENSORRT_RTX)


@dataclass(frozen=True)
class Inspection:
    """A bundle opened up.

    Attributes:
        bundle: verified.
        model_layers: the model's weighted layers, and what each runs in.
        engine_layers: everything the engine runs, in order.
        reason: why the runtime was not asked, as a sentence; None where it was.
        warnings: sentences.
    """

    bundle: Bundle
    model_layers: list[ModelLayer]
    engine_layers: list[EngineLayer]
    reason: str | None
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain values: the manifest's, and what the engine runs."""
        value = self.bundle.manifest.to_json()
        del value["layers"]
        return {
            "bundle": str(self.bundle.path),
            **value,
            "size_bytes": self.bundle.size_bytes(),
            "model_bytes": self.bundle.model.stat().st_size,
            "labels": len(self.bundle.labels),
            "layers": [layer.to_json() for layer in self.model_layers],
            "engine_layers": [layer.to_json() for layer in self.engine_layers],
            "precisions": self.precisions(),
            "reason": self.reason,
            "warnings": self.warnings,
            "trtexec": self.trtexec(),
        }

    def precisions(self) -> dict[str, int]:
        """How many of the model's weighted layers run in each precision; ``unknown`` where the runtime does not say."""
        return dict(sorted(Counter(layer.runs or "unknown" for layer in self.model_layers).items()))

    def trtexec(self) -> dict[str, str] | None:
        """Commands that build and measure the same engine with the runtime's own tool; None for other runtimes."""
        from resnest_edge.backends.tensorrt.trtexec import build_command, dialect, run_command

        manifest = self.bundle.manifest
        if manifest.target not in TENSORRT:
            return None
        flags, info = dialect(manifest.target, manifest.runtime), manifest.info
        name = manifest.engine or "engine.plan"
        model, engine = str(self.bundle.model), str(self.bundle.path / name)
        commands = {
            "build": build_command(flags, model, f"rebuilt-{name}", info, manifest.details),
            "run": run_command(flags, engine, info, batch=info.batch.optimum),
        }
        return {key: command for key, command in commands.items() if command is not None}


def inspect_path(path: Path, *, trust: Path | None = None) -> Inspection:
    """Open a bundle, and ask its runtime what became of each layer.

    On a machine without that runtime or its GPU the bundle is described all the same, and ``reason`` says why the
    layers are not.

    Raises:
        BundleError: no bundle, a damaged one, one that ``trust`` did not sign, or one that this CPU cannot run.
    """
    return inspect_bundle(open_bundle(path, trust=trust))


def inspect_bundle(bundle: Bundle) -> Inspection:
    """Ask the runtime of an open bundle what became of each layer, as :func:`inspect_path`.

    Raises:
        BundleDamagedError: a trusted bundle was changed since it was opened.
    """
    manifest = bundle.manifest
    try:
        with in_custody(bundle) as held:
            layers, notes = engine_layers(held)
    except (UnavailableError, BundleMisfitError) as exc:
        unknown = [ModelLayer(name, asked, None, None) for name, asked in manifest.layers.items()]
        return Inspection(bundle, unknown, [], str(exc), [])
    model_layers = map_layers(manifest.layers, layers)
    return Inspection(bundle, model_layers, layers, None, [*notes, *find_warnings(model_layers)])


def engine_layers(bundle: Bundle) -> tuple[list[EngineLayer], list[str]]:
    """Everything the engine runs, in order, and what the user should know of how it was found out.

    Raises:
        BundleMisfitError: there is no engine, or it is for another machine.
        UnavailableError: the runtime or its GPU is not here.
    """
    info, engine = bundle.manifest.info, bundle.engine
    if bundle.manifest.target is Target.OPENVINO:
        from resnest_edge.backends.openvino_layers import openvino_layers

        return openvino_layers(engine, bundle.model, info), []
    if bundle.manifest.target is Target.ONNXRUNTIME:
        from resnest_edge.backends.onnxruntime_layers import onnxruntime_layers

        return onnxruntime_layers(engine, info), []
    from resnest_edge.backends.tensorrt.flavours import FLAVOURS
    from resnest_edge.backends.tensorrt.inspector import inspect_engine

    information = inspect_engine(FLAVOURS[bundle.manifest.target], engine, bundle.manifest.details)
    short = "this engine was built to tell its layers' names only; build it again to see what they run in"
    return information.layers, [] if information.detailed else [short]


def summarise(layers: list[EngineLayer]) -> list[Mapping[str, Any]]:
    """Layers by kind and precision: how many, and their time together where it was measured; the slowest first."""
    groups: dict[tuple[str, str], list[EngineLayer]] = {}
    for layer in layers:
        groups.setdefault((layer.kind or "layer", layer.precision or "unknown"), []).append(layer)
    rows = []
    for (kind, precision), members in groups.items():
        times = [layer.milliseconds for layer in members if layer.milliseconds is not None]
        spent = sum(times) if times else None
        rows.append({"kind": kind, "precision": precision, "layers": len(members), "milliseconds": spent})
    return sorted(rows, key=lambda row: (-(row["milliseconds"] or 0.0), -row["layers"], row["kind"], row["precision"]))
