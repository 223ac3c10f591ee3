"""Bad input of every kind, given to the command line: the documented exit code, one message, nothing written."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from resnest_edge.calibration.scales import Scales
from resnest_edge.demo.model import weights_path
from resnest_edge.spec import QdqStyle
from tests.reliability.bad_files import (
    EVERY_KIND,
    EXECUTED,
    Maker,
    Malice,
    empty,
    huge,
    malicious_npy,
    picture,
    pipe,
    png_bomb,
    truncated,
    zip_bomb,
)
from tests.support.bundles import write_hollow
from tests.support.cli import CommandLine, Ran
from tests.support.foreign import write_foreign
from tests.support.scenes import write_scenes
from tests.support.tree import snapshot
from tests.support.weights import tiny

FOREIGN = ("--mean", "0,0,0", "--std", "1,1,1", "--color", "rgb", "--resize", "36")
Refuse = Callable[..., Ran]


@pytest.fixture
def refused(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Calls a command that must end with an exit code, one message, and the disk as it was."""
    monkeypatch.chdir(tmp_path)

    def call(code: int, *arguments: object) -> Ran:
        before = snapshot(tmp_path)
        ran = cli(*arguments)
        assert ran.code == code, ran.err
        assert ran.err.count("error: ") == 1 and "Traceback" not in ran.err and "bug" not in ran.err
        assert ran.out == ""
        assert snapshot(tmp_path) == before
        return ran

    return call


def saved(content: object) -> Maker:
    return lambda path: torch.save(content, path)


def with_value(value: float) -> dict[str, torch.Tensor]:
    state = tiny().state_dict()
    state["layer2.0.conv1.weight"].view(-1)[3] = value
    return state


DEMO = weights_path().read_bytes()
WEIGHTS: dict[str, tuple[str, Maker]] = {
    **{
        f"{name} as {suffix}": (suffix, make)
        for name, make in EVERY_KIND.items()
        for suffix in (".pth", ".safetensors")
    },
    "a picture as .pth": (".pth", picture),
    "a zip bomb": (".pth", zip_bomb),
    "NaN weights": (".pth", saved(with_value(float("nan")))),
    "infinite weights": (".pth", saved(with_value(float("inf")))),
    "a list": (".pth", saved([torch.zeros(3)])),
    "wrong shapes": (".pth", saved({**tiny().state_dict(), "fc.weight": torch.zeros(5)})),
    "integers": (".pth", saved({"fc.weight": torch.zeros(5, 5, dtype=torch.int8)})),
    "another ending": (".bin", picture),
    **{f"{share:.1%} of a file": (".safetensors", truncated(DEMO, share)) for share in (0.001, 0.5, 0.999)},
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_bad_weights(refused: Refuse, tmp_path: Path, kind: str) -> None:
    suffix, make = WEIGHTS[kind]
    path = tmp_path / f"wéights 1{suffix}"
    make(path)
    ran = refused(2, "build", "--weights", path, "--precision", "fp32", "--out", tmp_path / "out")
    assert path.name in ran.err


def test_weights_of_another_network(refused: Refuse, tmp_path: Path) -> None:
    torch.save(tiny().state_dict(), tmp_path / "w.pth")
    ran = refused(2, "build", "resnest50", "--weights", tmp_path / "w.pth", "--precision", "fp32", "--out", "out")
    assert "do not fit" in ran.err


def nan_model(path: Path) -> None:
    model = onnx.load(write_foreign(path))
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight.flat[0] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, model.graph.initializer[0].name))
    onnx.save(model, path)


def external(location: str) -> Maker:
    """A model that says its first weight lies in another file."""

    def make(path: Path) -> None:
        model = onnx.load(write_foreign(path))
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        onnx.save(model, path)

    return make


def wrong_output(path: Path) -> None:
    model = onnx.load(write_foreign(path))
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 7
    onnx.save(model, path)


def whole_model(folder: Path) -> bytes:
    return write_foreign(folder / "whole.onnx").read_bytes()


MODELS: dict[str, Maker] = {
    **EVERY_KIND,
    "a picture": picture,
    "NaN weights": nan_model,
    "weights in a file that is missing": external("weights.bin"),
    "weights in a file outside": external("../../../../etc/hostname"),
    "weights at an absolute path": external("/etc/hostname"),
    "an output of another shape": wrong_output,
    "half a file": lambda path: path.write_bytes(whole_model(path.parent)[:2000]),
}


@pytest.mark.parametrize("kind", MODELS)
def test_bad_models(refused: Refuse, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "my mödel.onnx"
    MODELS[kind](path)
    ran = refused(
        2, "build", path, *FOREIGN, "--precision", "fp32", "--target", "onnxruntime", "--out", tmp_path / "out"
    )
    assert "root:" not in ran.err


SCALES = Scales("a" * 64, "b" * 64, 5, "mse", QdqStyle.CPU, {})


@pytest.mark.parametrize("kind", [*EVERY_KIND, "half a file"])
def test_bad_scales(refused: Refuse, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "my scäles.json"
    if kind == "half a file":
        SCALES.save(path)
        path.write_bytes(path.read_bytes()[:100])
    else:
        EVERY_KIND[kind](path)
    ran = refused(2, "build", "--scales", path, "--out", tmp_path / "out")
    assert path.name in ran.err


@pytest.mark.parametrize("kind", [kind for kind in EVERY_KIND if kind != "a folder"])
def test_bad_image_lists(refused: Refuse, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "my lïst.txt"
    EVERY_KIND[kind](path)
    ran = refused(2, "build", "--images", path, "--out", tmp_path / "out")
    assert path.name in ran.err


PICTURES: dict[str, Maker] = {
    **{name: make for name, make in EVERY_KIND.items() if name not in ("missing", "a folder")},
    "a bomb": png_bomb,
    "half a file": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08"),
    "a pickled array": lambda path: path.write_bytes(malicious_npy(path.with_name("proof"))),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_bad_picture_among_good_ones(refused: Refuse, tmp_path: Path, kind: str) -> None:
    folder = write_scenes(tmp_path / "my pictüres", "test", 20)
    path = folder / "3" / "a bad one.png"
    PICTURES[kind](path)
    ran = refused(2, "calibrate", "--images", folder, "--sample", "30", "--out", tmp_path / "scales.json")
    assert path.name in ran.err


def test_folders_that_are_no_image_sets(refused: Refuse, tmp_path: Path) -> None:
    folder = write_scenes(tmp_path / "scenes", "test", 20)
    (folder / "3" / "loop").symlink_to(folder)
    assert "leads back" in refused(2, "calibrate", "--images", folder, "--list", "list.txt").err
    (tmp_path / "nothing").mkdir()
    assert "empty" in refused(2, "calibrate", "--images", tmp_path / "nothing", "--list", "list.txt").err
    (tmp_path / "round").symlink_to("round")
    refused(2, "calibrate", "--images", tmp_path / "round", "--list", "list.txt")


@pytest.mark.parametrize("verb", ["inspect", "verify", "evaluate", "benchmark", "package", "report"])
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_bad_bundles(refused: Refuse, tmp_path: Path, kind: str, verb: str) -> None:
    rest = {"evaluate": ("--images", "demo:test"), "package": ("--for", "onnx"), "report": ("--out", "report")}
    path = write_hollow(tmp_path / "my bündle")
    (path / "manifest.json").unlink()
    EVERY_KIND[kind](path / "manifest.json")
    refused(4, verb, path, *rest.get(verb, ()))


@pytest.mark.parametrize("make", [empty, huge, pipe])
def test_a_bad_file_in_the_place_of_a_bundle(refused: Refuse, tmp_path: Path, make: Maker) -> None:
    make(tmp_path / "bundle")
    assert "no bundle here" in refused(4, "inspect", tmp_path / "bundle").err


def test_no_pickle_is_executed(refused: Refuse, tmp_path: Path) -> None:
    """In every place that a file of ours or of others has, under every name that some library unpickles."""
    proof, payload = tmp_path / "proof", pickle.dumps(Malice(tmp_path / "proof"))
    torch.save({"state_dict": Malice(proof)}, tmp_path / "zip.pth")
    torch.save(Malice(proof), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pt").write_bytes(payload)
    (tmp_path / "named.safetensors").write_bytes(payload)
    (tmp_path / "array.onnx").write_bytes(malicious_npy(proof))
    with zipfile.ZipFile(tmp_path / "arrays.pth.tar", "w") as archive:
        archive.writestr("array.npy", malicious_npy(proof))
    for name in ("zip.pth", "old.pth", "bare.pt", "named.safetensors", "arrays.pth.tar"):
        refused(2, "build", "--weights", tmp_path / name, "--precision", "fp32", "--out", "out")
    refused(2, "build", tmp_path / "array.onnx", *FOREIGN, "--out", "out")
    for option, name in (("--scales", "scales.json"), ("--images", "list.txt")):
        (tmp_path / name).write_bytes(payload)
        refused(2, "build", option, tmp_path / name, "--out", "out")
    bundle = write_hollow(tmp_path / "bundle")
    for name in ("manifest.json", "labels.txt", "engine.xml", "model.onnx"):
        before = (bundle / name).read_bytes()
        (bundle / name).write_bytes(payload)
        refused(4, "inspect", bundle)
        (bundle / name).write_bytes(before)
    assert not proof.exists()
    pickle.loads(payload)  # the payload works, so the proof means something
    assert EXECUTED in proof.read_text()


@pytest.mark.parametrize("name", ["../out", "/etc/hostname", "a/b", "..", ".", "", "a\\b", "a\0b", "x" * 5000])
def test_no_path_in_a_manifest_leaves_its_folder(refused: Refuse, tmp_path: Path, name: str) -> None:
    from resnest_edge.manifest import encode_manifest

    bundle = write_hollow(tmp_path / "bundle")
    value = json.loads((bundle / "manifest.json").read_bytes())
    for change in ({"files": {**value["files"], name: "0" * 64}}, {"engine": name}, {"details": {"weights": name}}):
        (bundle / "manifest.json").write_bytes(encode_manifest({**value, **change}))
        refused(4, "inspect", bundle)


def test_a_name_that_is_no_unicode_is_printed_all_the_same(cli: CommandLine, tmp_path: Path) -> None:
    bundle = write_hollow(tmp_path / "plain").rename(Path(os.fsdecode(bytes(tmp_path) + b"/b\xff")))
    ran = cli("verify", bundle)
    assert ran.code == 0 and "3 files" in ran.out
    assert json.loads(cli("verify", bundle, "--json").out)["files"] == 3
