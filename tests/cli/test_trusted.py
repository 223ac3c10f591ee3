"""Signed engines from the outside: with --trust, every verb that loads one does its work, and on no other one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import resnest_edge
from resnest_edge.demo.scenes import draw_scene
from tests.support.cli import CommandLine

QUICK = ("--rounds", 1, "--seconds", 0.02, "--warmup", 0)
LOADING: dict[str, tuple[object, ...]] = {
    "evaluate": ("--images", "demo:test"),
    "inspect": (),
    "benchmark": QUICK,
    "report": (*QUICK, "--out", "report"),
    "run": ("--source", "demo:?fps=0&frames=3"),
    "package": ("--for", "openvino-model-server", "--out", "package"),
}


@pytest.fixture
def signed(cli: CommandLine, engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A signed copy of the INT8 engine, in the folder the tests work in, with ``release.key.pub`` beside it."""
    pytest.importorskip("cryptography")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(engines / "int8", tmp_path / "cam")
    assert cli("keygen", "release.key").code == 0
    assert cli("sign", "cam", "--key", "release.key").code == 0
    return tmp_path / "cam"


@pytest.mark.parametrize("verb", LOADING)
def test_a_signed_engine_works_and_is_named_as_it_stands(cli: CommandLine, signed: Path, verb: str) -> None:
    ran = cli(verb, "cam", *LOADING[verb], "--trust", "release.key.pub", "--json")
    assert ran.code == 0, ran.err
    assert "resnest-edge-" not in ran.out + ran.err, "the private copy is nobody's business"
    assert json.loads(ran.out)
    assert "cam" in ran.out


def test_the_python_api_loads_it_and_leaves_no_copy(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with resnest_edge.load(signed, trust=tmp_path / "release.key.pub") as engine:
        assert list((tmp_path / "temporary").iterdir()) == []
        scene = draw_scene("test", 7)
        trusted = engine(scene).logits
    with resnest_edge.load(signed) as engine:
        assert (engine(scene).logits == trusted).all()


def test_one_bundle_alone_has_no_table_of_ratios(cli: CommandLine, engines: Path) -> None:
    assert "Throughput against" not in cli("benchmark", engines / "int8", *QUICK).out
    assert "Throughput against" in cli("benchmark", engines / "fp32", engines / "int8", *QUICK).out
