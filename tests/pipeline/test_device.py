"""The device's half of the work: a bundle exported elsewhere becomes an engine without the ``export`` extra."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from resnest_edge.pipeline.export import export
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.spec import Precision, Target
from tests.support.scenes import write_scenes

ROOT = Path(__file__).resolve().parents[2]

WITHOUT_EXPORT = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "onnx_ir", "onnxscript", "onnxsim", "safetensors"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Wall())
from resnest_edge.cli import main
main()
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("pictures"), "test", 40)


@pytest.fixture(scope="module", params=[Target.OPENVINO, Target.ONNXRUNTIME], ids=str)
def exported(
    request: pytest.FixtureRequest, workstation: None, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("workstation") / "cam"
    asked = BuildRequest(
        precisions=(Precision.INT8,), targets=(request.param,), images=str(pictures), calib_images=20, out=out
    )
    export(asked)
    return out


def check(program: list[str], exported: Path, pictures: Path, out: Path) -> None:
    """Build, evaluate and benchmark as the device would."""
    build = [*program, "build", str(exported), "--out", str(out), "--eval-images", str(pictures), "--json"]
    ran = subprocess.run(build, capture_output=True, text=True, check=False, cwd=out.parent)
    assert ran.returncode == 0, ran.stderr
    (row,) = json.loads(ran.stdout)["results"]
    assert row["precision_run"] == "int8" and row["evaluated_images"] == 40 and row["top1"] > 80
    evaluate = [*program, "evaluate", str(out), "--images", str(pictures), "--json"]
    again = subprocess.run(evaluate, capture_output=True, text=True, check=True, cwd=out.parent)
    assert json.loads(again.stdout)["top1"] == row["top1"]


def test_build_needs_neither_torch_nor_onnx(exported: Path, pictures: Path, tmp_path: Path) -> None:
    check([sys.executable, "-W", "error", "-c", WITHOUT_EXPORT], exported, pictures, tmp_path / "engine")


@pytest.mark.slow
def test_build_in_an_environment_without_the_export_extra(exported: Path, pictures: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), f"{ROOT}[cpu]"]
    subprocess.run(install, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    found = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    assert found.returncode != 0, "torch came along: this proves nothing"
    check([str(tmp_path / "venv" / "bin" / "resnest-edge")], exported, pictures, tmp_path / "engine")
