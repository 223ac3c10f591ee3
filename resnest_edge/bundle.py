"""The bundle: an engine with the graph it came from and a manifest that says what it is; written whole, read verified.

engine.xml, engine.bin | engine.onnx | engine.plan    the engine (none in a bundle that was only exported)
model.onnx                                            the typed graph
labels.txt                                            one class name a line, in class order
manifest.json                                         everything else, with the SHA-256 of every file above
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnest_edge import environment
from resnest_edge.errors import BundleDamagedError, BundleMisfitError, InputError
from resnest_edge.files import sha256_file, write_atomically
from resnest_edge.spec import GraphInfo, InputFormat, Precision, Preprocessing, Target, TensorSpec

SCHEMA = 1
MANIFEST = "manifest.json"
MODEL = "model.onnx"
LABELS = "labels.txt"


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        info: the typed graph.
        preprocessing: how pictures become its input.
        target: the runtime it is for.
        engine: name of the file to load, or None when the bundle was only exported.
        precision_run: the precision the engine really runs in, read back from the runtime.
        runtime: version of the runtime that built the engine.
        machine: the machine that built it (:func:`resnest_edge.environment.describe`).
        calibration: method, image count and digests, for INT8.
        layers: precision of every weighted layer of the graph.
        details: the runtime's own account of the build.
        parents: digests of what this was made from: checkpoint, exported bundle.
        command: what was typed to make it.
        files: SHA-256 of every other file of the bundle.
    """

    info: GraphInfo
    preprocessing: Preprocessing
    target: Target
    engine: str | None = None
    precision_run: Precision | None = None
    runtime: str | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def inputs(self) -> tuple[TensorSpec, ...]:
        """The one input: frames, already resized and cropped."""
        side, batch = self.info.image_size, self._batch()
        if self.info.input_format is InputFormat.UINT8_NHWC:
            return (TensorSpec("images", "uint8", (batch, side, side, 3), "NHWC RGB, 0 to 255"),)
        return (TensorSpec("images", "float32", (batch, 3, side, side), "NCHW RGB, 0 to 255"),)

    def outputs(self) -> tuple[TensorSpec, ...]:
        """Logits and probabilities."""
        shape = (self._batch(), self.info.num_classes)
        return tuple(TensorSpec(name, "float32", shape, "NC") for name in ("logits", "probabilities"))

    def _batch(self) -> int | str:
        return self.info.batch.minimum if self.info.batch.fixed else "batch"

    def to_json(self) -> dict[str, Any]:
        """Plain values, in the order a reader wants them."""
        return {
            "schema": SCHEMA,
            "variant": self.info.name,
            "target": self.target.value,
            "runtime": self.runtime,
            "precision": {
                "asked": self.info.precision.value,
                "run": self.precision_run.value if self.precision_run else None,
            },
            "graph": self.info.to_json(),
            "inputs": [_tensor_json(spec) for spec in self.inputs()],
            "outputs": [_tensor_json(spec) for spec in self.outputs()],
            "preprocessing": self.preprocessing.to_json(),
            "calibration": self.calibration,
            "engine": self.engine,
            "layers": dict(self.layers),
            "details": dict(self.details),
            "machine": dict(self.machine),
            "parents": dict(self.parents),
            "command": self.command,
            "files": dict(self.files),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Manifest:
        """Inverse of :meth:`to_json`.

        Raises:
            InputError: a key is missing or a value is out of range.
        """
        try:
            run, files = value["precision"]["run"], {str(k): str(v) for k, v in value["files"].items()}
            engine = value["engine"]
            if any(not _plain_name(name) for name in files) or (engine is not None and engine not in files):
                raise InputError("a file name in the manifest points outside the bundle or is not listed")
            return cls(
                info=GraphInfo.from_json(value["graph"]),
                preprocessing=Preprocessing.from_json(value["preprocessing"]),
                target=Target(value["target"]),
                engine=engine,
                precision_run=Precision(run) if run else None,
                runtime=value["runtime"],
                machine=dict(value["machine"]),
                calibration=None if value["calibration"] is None else dict(value["calibration"]),
                layers=dict(value["layers"]),
                details=dict(value["details"]),
                parents=dict(value["parents"]),
                command=value["command"],
                files=files,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise InputError(f"{type(exc).__name__}: {exc}") from exc


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files were verified against its manifest."""

    path: Path
    manifest: Manifest
    labels: tuple[str, ...]

    @property
    def model(self) -> Path:
        """The typed graph."""
        return self.path / MODEL

    @property
    def engine(self) -> Path:
        """The engine file to load.

        Raises:
            BundleMisfitError: the bundle was exported and not built yet.
        """
        if self.manifest.engine is None:
            raise BundleMisfitError(
                "this bundle holds a graph and no engine",
                where=self.path,
                hint=f"Build it here: resnest-edge build {self.path} --target {self.manifest.target} --out DIR.",
            )
        return self.path / self.manifest.engine

    def size_bytes(self) -> int:
        """Size of the engine's files, or of the graph where there is no engine."""
        names = [name for name in self.manifest.files if name.startswith("engine")] or [MODEL]
        return sum((self.path / name).stat().st_size for name in names)


def write_bundle(folder: Path, manifest: Manifest, labels: tuple[str, ...]) -> Manifest:
    """Complete a folder that holds ``model.onnx`` and engine files already: labels, digests, manifest.

    Returns:
        The manifest with ``files`` filled in.
    """
    write_atomically(folder / LABELS, ("\n".join(labels) + "\n").encode())
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    complete = Manifest(**{**vars(manifest), "files": {name: sha256_file(folder / name) for name in names}})
    write_atomically(folder / MANIFEST, (json.dumps(complete.to_json(), indent=1) + "\n").encode())
    return complete


def open_bundle(path: Path) -> Bundle:
    """Read a bundle, verify every file against the manifest, and check that it fits this machine.

    Raises:
        BundleDamagedError: no bundle, an unreadable manifest, or a file that is missing or changed.
        BundleMisfitError: built for a CPU that this one is not.
    """
    manifest = _read_manifest(path)
    for name, expected in manifest.files.items():
        _verify(path / name, expected)
    if not {MODEL, LABELS} <= set(manifest.files):
        raise BundleDamagedError(f"the manifest does not list {MODEL} and {LABELS}", where=path)
    labels = tuple((path / LABELS).read_text(encoding="utf-8").splitlines())
    if len(labels) != manifest.info.num_classes:
        raise BundleDamagedError(f"{len(labels)} labels for {manifest.info.num_classes} classes", where=path)
    _check_fit(path, manifest)
    return Bundle(path, manifest, labels)


def is_bundle(path: Path) -> bool:
    """Whether a path looks like a bundle: a folder with a manifest."""
    return (path / MANIFEST).is_file()


def _read_manifest(path: Path) -> Manifest:
    hint = "A bundle is a folder that `resnest-edge build` or `export` wrote."
    if not path.is_dir():
        raise BundleDamagedError("there is no bundle here", where=path, hint=hint)
    try:
        value = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise BundleDamagedError(f"there is no {MANIFEST} in this folder", where=path, hint=hint) from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise BundleDamagedError(f"{MANIFEST} cannot be read ({exc})", where=path, hint="Build it again.") from exc
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        found = value.get("schema") if isinstance(value, dict) else None
        raise BundleDamagedError(
            f"manifest schema {found!r} is not {SCHEMA}", where=path, hint="Build it again with this version."
        )
    try:
        return Manifest.from_json(value)
    except (InputError, RecursionError) as exc:
        raise BundleDamagedError(f"{MANIFEST} is damaged ({exc})", where=path, hint="Build it again.") from exc


def _verify(path: Path, expected: str) -> None:
    if not path.is_file() or path.is_symlink():
        raise BundleDamagedError("the manifest lists this file and it is not here", where=path, hint="Build it again.")
    if sha256_file(path) != expected:
        raise BundleDamagedError(
            "the file's bytes differ from the manifest", where=path, hint="Copy the bundle again, or build it again."
        )


def _check_fit(path: Path, manifest: Manifest) -> None:
    on_cpu = manifest.target in (Target.OPENVINO, Target.ONNXRUNTIME)
    eight_bit = manifest.info.precision is Precision.INT8 and manifest.info.weight_bits == 8
    if on_cpu and eight_bit and not environment.has_safe_int8_products():
        raise BundleMisfitError(
            "this INT8 engine has 8-bit weights, and this CPU has no VNNI: its 16-bit sums would overflow "
            "and the answers would be wrong",
            where=path,
            hint="Build it again on this machine; it will use 7-bit weights.",
        )


def _plain_name(name: str) -> bool:
    return bool(name) and name not in (".", "..") and Path(name).name == name and "\\" not in name and "\0" not in name


def _tensor_json(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape), "layout": spec.layout}
