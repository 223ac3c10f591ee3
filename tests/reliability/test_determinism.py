"""The same inputs, the same bits: in two processes whose hashes of texts differ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="exporting needs the extra export")

ROOT = Path(__file__).resolve().parents[2]

WRITE = """
import json, sys
from pathlib import Path
from resnest_edge.files import sha256_file
from resnest_edge.pipeline.calibrate import calibrate
from resnest_edge.pipeline.export import export
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.spec import Precision, Target
from dataclasses import replace

place, images = Path(sys.argv[1]), sys.argv[2]
asked = BuildRequest(images=images, calib_images=6, targets=(Target.OPENVINO,))
calibrate(asked, place / "list.txt", place / "scales.json")
calibrate(replace(asked, images="calib/demo.txt"), None, place / "listed.json")
bundles = export(replace(asked, precisions=tuple(Precision)[:1] + (Precision.BF16, Precision.INT8), out=place / "cam"))
graph = json.loads((place / "scales.json").read_text())["graph_digest"]
found = {bundle.path.name: bundle.manifest.files["model.onnx"] for bundle in bundles}
print(json.dumps({**found, "graph": graph, **{n: sha256_file(place / n) for n in sys.argv[3:]}}))
"""


WRITTEN = ("list.txt", "scales.json", "listed.json")


def write(place: Path, pictures: Path, seed: str) -> dict[str, str]:
    """Digests of all that a process of its own writes, by name."""
    place.mkdir()
    command = [sys.executable, "-c", WRITE, str(place), str(pictures), *WRITTEN]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    digests: dict[str, str] = json.loads(ran.stdout)
    return digests


def test_two_processes_write_the_same_bits(tmp_path: Path, pictures: Path) -> None:
    with ThreadPoolExecutor(2) as both:
        found = list(both.map(lambda seed: write(tmp_path / seed, pictures, seed), ("1", "2")))
    assert found[0] == found[1]
    assert set(found[0]) == {"fp32", "bf16", "int8", "graph", *WRITTEN}
    assert found[0]["scales.json"] != found[0]["listed.json"], "other images give other ranges"
    assert len({found[0][name] for name in ("fp32", "bf16", "int8")}) == 3
