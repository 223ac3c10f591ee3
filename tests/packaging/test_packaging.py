"""Packages: read back by the format's own parser where there is one, and by the program they are for."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnest_edge.bundle import Manifest, write_bundle
from resnest_edge.errors import BundleDamagedError, BundleMisfitError, OutputError, UsageError
from resnest_edge.images.transform import transform
from resnest_edge.packaging.names import Consumer
from resnest_edge.packaging.package import package
from resnest_edge.pipeline.build import build
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.runtimes import open_session
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Precision, Preprocessing, Target
from tests.support.cli import CommandLine
from tests.support.scenes import write_scenes

DYNAMIC = BatchRange(1, 4, 16)
ENGINES = {
    Target.OPENVINO: ("engine.xml", "engine.bin"),
    Target.TENSORRT: ("engine.plan",),
    Target.ONNXRUNTIME: ("engine.onnx",),
    Target.TENSORRT_RTX: ("engine.plan",),
}


def make(folder: Path, target: Target, batch: BatchRange = DYNAMIC, *, built: bool = True) -> Path:
    """A bundle whose engine is a few bytes: enough for whatever only lays files out."""
    folder.mkdir()
    info = GraphInfo("tiny net", Precision.FP32, Precision.FP32, None, 8, InputFormat.UINT8_NHWC, batch, 64, 3)
    for name in ("model.onnx", *(ENGINES[target] if built else ())):
        (folder / name).write_bytes(name.encode())
    engine = ENGINES[target][0] if built else None
    write_bundle(folder, Manifest(info, Preprocessing(64, 72), target, engine), ("cat", "dog", "a; b"))
    return folder


def parse_triton(text: str) -> Any:
    """Read config.pbtxt with protobuf and the message that Triton's own client publishes."""
    text_format = pytest.importorskip("google.protobuf.text_format")
    try:
        found = importlib.metadata.distribution("tritonclient")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("Triton's model_config message comes with tritonclient, which is not installed")
    path = found.locate_file("tritonclient/grpc/model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("triton_model_config", str(path))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return text_format.Parse(text, module.ModelConfig())


def test_triton_repository_of_a_dynamic_engine(tmp_path: Path) -> None:
    made = package(make(tmp_path / "b", Target.TENSORRT), Consumer.TRITON)
    assert made.path == tmp_path / "b-triton"
    root = made.path / "tiny_net"
    assert made.files == ("README.md", "tiny_net/1/model.plan", "tiny_net/config.pbtxt", "tiny_net/labels.txt")
    assert (root / "1" / "model.plan").read_bytes() == b"engine.plan"
    config = parse_triton((root / "config.pbtxt").read_text())
    assert (config.name, config.platform, config.max_batch_size) == ("tiny_net", "tensorrt_plan", 16)
    assert list(config.input[0].dims) == [64, 64, 3] and config.input[0].name == "images"
    assert [(item.name, list(item.dims)) for item in config.output] == [("logits", [3]), ("probabilities", [3])]
    assert [item.label_filename for item in config.output] == ["", "labels.txt"]
    assert list(config.dynamic_batching.preferred_batch_size) == [4]
    assert [item.batch_size for item in config.model_warmup] == [1, 4]
    assert config.model_warmup[0].inputs["images"].zero_data


def test_triton_keeps_the_batch_of_a_fixed_graph_in_its_shapes(tmp_path: Path) -> None:
    made = package(make(tmp_path / "b", Target.ONNXRUNTIME, BatchRange(2, 2, 2)), Consumer.TRITON)
    config = parse_triton((made.path / "tiny_net" / "config.pbtxt").read_text())
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 0)
    assert list(config.input[0].dims) == [2, 64, 64, 3] and list(config.output[0].dims) == [2, 3]
    assert not config.HasField("dynamic_batching") and config.model_warmup[0].batch_size == 0


@pytest.mark.parametrize("target", [Target.OPENVINO, Target.TENSORRT_RTX])
def test_triton_refuses_other_targets(tmp_path: Path, target: Target) -> None:
    with pytest.raises(UsageError, match="--target onnxruntime or --target tensorrt"):
        package(make(tmp_path / "b", target), Consumer.TRITON)
    assert not (tmp_path / "b-triton").exists()


def test_triton_refuses_an_engine_that_takes_no_single_image(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--batch 1:4:8"):
        package(make(tmp_path / "b", Target.TENSORRT, BatchRange(2, 4, 8)), Consumer.TRITON)


def test_openvino_model_server_repository(tmp_path: Path) -> None:
    made = package(make(tmp_path / "b", Target.OPENVINO), Consumer.OPENVINO_MODEL_SERVER, tmp_path / "out")
    assert made.files == ("README.md", "config.json", "labels.txt", "tiny_net/1/model.bin", "tiny_net/1/model.xml")
    (entry,) = json.loads((made.path / "config.json").read_text())["model_config_list"]
    assert (made.path / entry["config"]["base_path"] / "1" / "model.xml").read_bytes() == b"engine.xml"
    assert entry["config"]["name"] == "tiny_net"
    assert entry["config"]["plugin_config"] == {"INFERENCE_PRECISION_HINT": "f32"}


def test_openvino_model_server_refuses_what_it_cannot_serve(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--target openvino"):
        package(make(tmp_path / "b", Target.TENSORRT), Consumer.OPENVINO_MODEL_SERVER)
    with pytest.raises(BundleMisfitError, match="no engine"):
        package(make(tmp_path / "c", Target.OPENVINO, built=False), Consumer.OPENVINO_MODEL_SERVER)


def test_nothing_is_overwritten_or_packaged_from_damage(tmp_path: Path) -> None:
    bundle, out = make(tmp_path / "b", Target.ONNXRUNTIME), tmp_path / "out"
    package(bundle, Consumer.ONNX, out)
    (out / "mine").write_text("kept")
    with pytest.raises(OutputError, match="--force"):
        package(bundle, Consumer.ONNX, out)
    assert (out / "mine").exists()
    package(bundle, Consumer.ONNX, out, force=True)
    assert not (out / "mine").exists()
    (bundle / "model.onnx").write_bytes(b"changed")
    with pytest.raises(BundleDamagedError):
        package(bundle, Consumer.ONNX, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_command_line_lists_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cli, bundle = CommandLine(monkeypatch, capfd), make(tmp_path / "b", Target.ONNXRUNTIME)
    ran = cli("package", bundle, "--for", "onnx", "--out", tmp_path / "out", "--json")
    assert ran.code == 0 and ran.err == ""
    value = json.loads(ran.out)
    assert value["for"] == "onnx" and all((tmp_path / "out" / name).is_file() for name in value["files"])
    assert cli("package", bundle, "--for", "onnx", "--out", tmp_path / "out").code == 2
    assert cli("package", tmp_path, "--for", "onnx").code == 4


@pytest.mark.usefixtures("workstation")
@pytest.mark.parametrize("input_format", InputFormat)
def test_the_onnx_example_answers_as_the_session(tmp_path: Path, input_format: InputFormat) -> None:
    pictures, bundle = write_scenes(tmp_path / "pictures", "test", 10), tmp_path / "bundle"
    build(
        BuildRequest(
            precisions=(Precision.FP32,),
            targets=(Target.ONNXRUNTIME,),
            input_format=input_format,
            images=str(pictures),
            out=bundle,
        )
    )
    made = package(bundle, Consumer.ONNX)
    picture = Image.new("RGB", (150, 110))  # neither square nor the input's size: resize and crop both count
    picture.paste(Image.open(pictures / "1" / "0001.png").convert("RGB").resize((110, 110)), (20, 0))
    picture.save(tmp_path / "picture.png")
    command = [sys.executable, str(made.path / "classify.py"), str(tmp_path / "picture.png")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    how = Preprocessing.from_json(json.loads((made.path / "preprocessing.json").read_text()))
    frame = transform(picture, how)[None]
    if input_format is InputFormat.FLOAT_NCHW:
        frame = np.ascontiguousarray(frame.transpose(0, 3, 1, 2), dtype=np.float32)
    with open_session(bundle) as session:
        expected = session.run(frame).probabilities[0]
    labels = (made.path / "labels.txt").read_text().splitlines()
    best = int(expected.argmax())
    assert lines[0].split()[1] == labels[best]
    # both run the same graph on the same pixels: only the print's six digits differ
    assert float(lines[0].split()[0]) == pytest.approx(float(expected[best]), abs=2e-6)
