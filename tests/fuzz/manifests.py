"""Manifests: mutated, sealed again as whoever tampers with one would, and read with the bundle around them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Any

from resnest_edge.bundle import Manifest, open_bundle, write_bundle
from resnest_edge.errors import BundleError
from resnest_edge.manifest import DIGEST, decode_manifest
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Precision, Preprocessing, Target
from tests.fuzz.junk import alike, damage, dump, junk, mutate_json
from tests.fuzz.outcome import Outcome
from tests.support.bundles import INFO, LABELS

_FP16 = GraphInfo(
    name="mine",
    precision=Precision.FP16,
    float_type=Precision.FP16,
    style=None,
    weight_bits=8,
    input_format=InputFormat.FLOAT_NCHW,
    batch=BatchRange(4, 4, 4),
    image_size=32,
    num_classes=3,
)


class Manifests:
    """A reader to fuzz: three bundles whose manifests are replaced by mutated ones."""

    name = "manifest"

    def __init__(self, folder: Path) -> None:
        self._folders = [
            _write(folder / "openvino", INFO, Target.OPENVINO, "engine.xml"),
            _write(folder / "exported", INFO, Target.OPENVINO, None),
            _write(folder / "tensorrt", _FP16, Target.TENSORRT, "engine.plan"),
        ]
        self._values = [json.loads((path / "manifest.json").read_bytes()) for path in self._folders]

    def check(self, random: Random) -> tuple[bytes, Outcome]:
        """Write one mutated manifest, and open its bundle."""
        index = random.randrange(len(self._folders))
        folder, value = self._folders[index], self._values[index]
        data = damage(dump(value), random) if random.random() < 0.15 else dump(_mutate(value, random))
        (folder / "manifest.json").write_bytes(data)
        return data, _read(folder, data)


def _mutate(value: dict[str, Any], random: Random) -> Any:
    plain = {key: item for key, item in value.items() if key != DIGEST}
    if random.random() < 0.1:
        place = random.choice((plain["details"], plain["machine"], plain["calibration"] or plain, plain["graph"]))
        for key in list(place):
            place = {**place, key: alike(place[key], random)}
    mutated = junk(random) if random.random() < 0.02 else mutate_json(plain, random)
    if isinstance(mutated, dict) and random.random() < 0.95:
        sealed = json.dumps(mutated, sort_keys=True, separators=(",", ":")).encode()
        mutated = {**mutated, DIGEST: hashlib.sha256(sealed).hexdigest()}
    return mutated


def _read(folder: Path, data: bytes) -> Outcome:
    try:
        parsed = isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        parsed = False
    try:
        bundle = open_bundle(folder)
    except BundleError:
        return Outcome.REFUSED if parsed else Outcome.UNPARSED
    manifest = bundle.manifest
    json.dumps(manifest.to_json(), allow_nan=False)  # what `inspect --json` prints
    assert Manifest.from_json(manifest.to_json()) == manifest == decode_manifest(data)
    assert {path.parent for path in (bundle.model, *(folder / name for name in manifest.files))} == {folder}
    assert len(bundle.labels) == manifest.info.num_classes and bundle.size_bytes() >= 0
    assert manifest.engine is None or bundle.engine.parent == folder
    assert len(manifest.inputs()[0].shape) == 4 and len(manifest.outputs()) == 2
    return Outcome.ACCEPTED


def _write(folder: Path, info: GraphInfo, target: Target, engine: str | None) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    if engine is not None:
        (folder / engine).write_bytes(b"engine")
    manifest = Manifest(
        info=info,
        preprocessing=Preprocessing(32, 36),
        target=target,
        engine=engine,
        precision_run=info.precision if engine else None,
        runtime="1.0",
        machine={"cpu": "abacus", "cores": 2, "cpu_isa": ["avx2"], "versions": {"python": "3.11"}},
        calibration={"method": "mse", "images": 5, "images_digest": "0"} if info.style else None,
        layers={"stem.conv1": "int8", "fc": "fp32"},
        details={"built_for": {"version": "10.3", "gpu": None}, "workspace_mib": 64, "stripped": False},
        parents={"checkpoint": "abc"},
        command="resnest-edge build",
    )
    write_bundle(folder, manifest, LABELS)
    return folder
