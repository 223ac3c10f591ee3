"""The manifest: what a bundle says of itself, as one JSON object that carries its own digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resnest_edge.errors import InputError
from resnest_edge.spec import GraphInfo, InputFormat, Precision, Preprocessing, Target, TensorSpec

SCHEMA = 1
DIGEST = "digest"
_SHA256 = re.compile("[0-9a-f]{64}")
_REBUILD = "Build it again with this version."


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
            run = value["precision"]["run"]
            files = {name: _digest(digest) for name, digest in _object(value["files"]).items()}
            engine, details = value["engine"], _object(value["details"])
            if any(not _plain_name(name) for name in files):
                raise InputError("a file name in the manifest points outside the bundle")
            if any(name is not None and name not in files for name in (engine, details.get("weights"))):
                raise InputError("the manifest names an engine that its files do not hold")
            return cls(
                info=GraphInfo.from_json(value["graph"]),
                preprocessing=Preprocessing.from_json(value["preprocessing"]),
                target=Target(value["target"]),
                engine=engine,
                precision_run=Precision(run) if run else None,
                runtime=_text_or_none(value["runtime"]),
                machine=_object(value["machine"]),
                calibration=_calibration(value["calibration"]),
                layers=_texts(value["layers"]),
                details=details,
                parents=_texts(value["parents"]),
                command=_text_or_none(value["command"]),
                files=files,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise InputError(f"{type(exc).__name__}: {exc}") from exc


def encode_manifest(value: Mapping[str, Any]) -> bytes:
    """A manifest's JSON as a file: sealed with the SHA-256 of everything else in it."""
    plain = {key: item for key, item in value.items() if key != DIGEST}
    return (json.dumps({**plain, DIGEST: _seal(plain)}, indent=1, allow_nan=False) + "\n").encode()


def decode_manifest(data: bytes) -> Manifest:
    """Inverse of :func:`encode_manifest`, and of :meth:`Manifest.to_json`.

    Raises:
        InputError: not JSON, of another schema, changed since it was sealed, or with a value out of range.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_no_number)
        found = value.get("schema") if isinstance(value, dict) else None
        if found != SCHEMA or isinstance(found, bool):
            raise InputError(f"manifest schema {found!r} is not {SCHEMA}", hint=_REBUILD)
        digest = value.pop(DIGEST, None)
        if digest != _seal(value):
            raise InputError("it was changed after it was written: its own digest differs", hint=_REBUILD)
        return Manifest.from_json(value)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"it cannot be read ({exc})", hint=_REBUILD) from exc


def _seal(plain: Mapping[str, Any]) -> str:
    """SHA-256 of the values, however the file is laid out."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no object")
    return dict(value)


def _texts(value: Any) -> dict[str, str]:
    texts = _object(value)
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError(f"{value!r} holds more than texts")
    return texts


def _text_or_none(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _calibration(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    record = _object(value)
    if not isinstance(record["method"], str) or type(record["images"]) is not int:
        raise TypeError("calibration names no method or number of images")
    return record


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError(f"{value!r} is no SHA-256")
    return value


def _plain_name(name: str) -> bool:
    return bool(name) and name not in (".", "..") and Path(name).name == name and "\\" not in name and "\0" not in name


def _tensor_json(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape), "layout": spec.layout}
