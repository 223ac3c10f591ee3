"""DeepStream's folder: parsed as its programs parse it, scripts run with stand-ins, the graph run in ONNX Runtime."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from resnest_edge.bundle import Manifest, open_bundle, write_bundle
from resnest_edge.errors import UnavailableError, UsageError
from resnest_edge.graph.folding import fold_interface
from resnest_edge.graph.model import save_graph
from resnest_edge.packaging.names import Consumer
from resnest_edge.packaging.package import package
from resnest_edge.spec import (
    BatchRange,
    GraphInfo,
    InputFormat,
    Precision,
    Preprocessing,
    QdqStyle,
    ResizeMode,
    Target,
)
from tests.support.tiny import CLASSES, IMAGE_SIZE, tiny_core

LABELS = ("tench, Tinca tinca", "a; b", *(f"class {index}" for index in range(2, CLASSES)))
HOW = Preprocessing(image_size=IMAGE_SIZE, resize=32)
INFO = GraphInfo(
    "tiny net",
    Precision.FP32,
    Precision.FP32,
    None,
    8,
    InputFormat.UINT8_NHWC,
    BatchRange(1, 2, 8),
    IMAGE_SIZE,
    CLASSES,
)


def make(folder: Path, how: Preprocessing = HOW, target: Target = Target.TENSORRT, **changes: Any) -> Path:
    """A bundle whose graph is a real one, of a tiny network."""
    details = changes.pop("details", {})
    info = replace(INFO, **changes)
    folder.mkdir()
    save_graph(fold_interface(tiny_core().core, how, input_format=info.input_format), folder / "model.onnx")
    write_bundle(folder, Manifest(info, how, target, details=details), LABELS)
    return folder


def read(path: Path) -> dict[str, dict[str, str]]:
    """Groups and keys as GLib's key file parser, which both programs use, sees them."""
    parser = configparser.ConfigParser(strict=True, delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text())
    return {name: dict(parser[name]) for name in parser.sections()}


def stand_in(folder: Path, name: str) -> dict[str, str]:
    """An environment in which ``name`` is a program that prints its arguments, one a line."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def run(script: Path, *arguments: str, env: dict[str, str]) -> list[str]:
    done = subprocess.run(["sh", str(script), *arguments], capture_output=True, text=True, check=True, env=env)
    return done.stdout.splitlines()


@pytest.mark.parametrize("form", InputFormat)
def test_the_graph_answers_as_the_bundles(tmp_path: Path, form: InputFormat) -> None:
    bundle = make(tmp_path / "b", input_format=form)
    made = package(bundle, Consumer.DEEPSTREAM)
    proto = onnx.load(made.path / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert [value.name for value in proto.graph.output] == ["probabilities"]
    frames = np.random.default_rng(0).integers(0, 256, (3, IMAGE_SIZE, IMAGE_SIZE, 3)).astype(np.uint8)
    planar = np.ascontiguousarray(frames.transpose(0, 3, 1, 2), dtype=np.float32)
    (theirs,) = ort.InferenceSession(made.path / "model.onnx").run(None, {"images": planar})
    given = frames if form is InputFormat.UINT8_NHWC else planar
    (ours,) = ort.InferenceSession(bundle / "model.onnx").run(["probabilities"], {"images": given})
    np.testing.assert_array_equal(theirs, ours)


def test_the_configuration_of_nvinfer(tmp_path: Path) -> None:
    made = package(make(tmp_path / "b"), Consumer.DEEPSTREAM)
    groups = read(made.path / "config_infer_primary.txt")
    assert list(groups) == ["property"]
    assert groups["property"] == {
        "gpu-id": "0",
        "onnx-file": "model.onnx",
        "model-engine-file": "model.engine",
        "labelfile-path": "labels.txt",
        "batch-size": "2",
        "network-mode": "0",
        "network-type": "1",
        "process-mode": "1",
        "gie-unique-id": "1",
        "infer-dims": f"3;{IMAGE_SIZE};{IMAGE_SIZE}",
        "model-color-format": "0",
        "net-scale-factor": "1",
        "maintain-aspect-ratio": "0",
        "scaling-filter": "1",
        "classifier-threshold": "0.0",
        "output-tensor-meta": "0",
    }
    app = read(made.path / "deepstream_app_config.txt")
    assert (made.path / app["primary-gie"]["config-file"]).is_file()
    assert app["primary-gie"]["batch-size"] == app["streammux"]["batch-size"] == app["source0"]["num-sources"]


@pytest.mark.parametrize(
    ("precision", "mode", "rebuildable"),
    [
        (Precision.FP32, "0", True),
        (Precision.FP16, "2", True),
        (Precision.INT8, "1", False),
        (Precision.BF16, "0", False),
    ],
)
def test_nvinfer_is_given_no_graph_that_it_would_build_in_another_precision(
    tmp_path: Path, precision: Precision, mode: str, rebuildable: bool
) -> None:
    style = QdqStyle.PORTABLE if precision is Precision.INT8 else None
    made = package(make(tmp_path / "b", precision=precision, style=style), Consumer.DEEPSTREAM)
    keys = read(made.path / "config_infer_primary.txt")["property"]
    assert keys["network-mode"] == mode and ("onnx-file" in keys) == rebuildable


def test_labels_are_one_line_of_as_many_classes(tmp_path: Path) -> None:
    made = package(make(tmp_path / "b"), Consumer.DEEPSTREAM)
    lines = (made.path / "labels.txt").read_text().split("\n")
    assert lines[1:] == [""] and len(lines[0].split(";")) == CLASSES
    assert lines[0].split(";")[:2] == ["tench, Tinca tinca", "a, b"]
    assert "written as `,`" in (made.path / "README.md").read_text()
    assert open_bundle(tmp_path / "b").labels == LABELS


def test_the_engine_is_built_strongly_typed(tmp_path: Path) -> None:
    made = package(make(tmp_path / "b", details={"dla_core": 1}), Consumer.DEEPSTREAM)
    where, *words = run(made.path / "build_engine.sh", env=stand_in(tmp_path / "bin", "trtexec"))
    assert where == str(made.path) and {"--stronglyTyped", "--onnx=model.onnx", "--saveEngine=model.engine"} <= set(
        words
    )
    for word, size in (("min", 1), ("opt", 2), ("max", 8)):
        assert f"--{word}Shapes=images:{size}x3x{IMAGE_SIZE}x{IMAGE_SIZE}" in words
    keys = read(made.path / "config_infer_primary.txt")["property"]
    assert "--useDLACore=1" in words and (keys["enable-dla"], keys["use-dla-core"]) == ("1", "1")


@pytest.mark.parametrize(
    ("size", "crop"),
    [((1920, 1080), "555:135:810:810"), ((1080, 1920), "135:555:810:810"), ((640, 480), "140:60:360:360")],
)
def test_the_pipeline_cuts_out_the_square_that_was_evaluated(tmp_path: Path, size: tuple[int, int], crop: str) -> None:
    made = package(make(tmp_path / "b"), Consumer.DEEPSTREAM)  # 24 of 32: three quarters of the shorter side
    env = stand_in(tmp_path / "bin", "gst-launch-1.0")
    words = run(made.path / "pipeline.sh", "in.mp4", *map(str, size), "out.mp4", env=env)
    left, top, across, down = map(
        int, next(word for word in words if word.startswith("src-crop=")).split("=")[1].split(":")
    )
    wanted = [int(part) for part in crop.split(":")]
    assert all(abs(got - want) <= 2 for got, want in zip((left, top, across, down), wanted, strict=True))
    assert not any(value % 2 for value in (left, top, across, down))
    assert left + across <= size[0] and top + down <= size[1]
    assert f"width={across}" in words and f"location={Path.cwd() / 'out.mp4'}" in words
    assert "config-file-path=config_infer_primary.txt" in words


def test_squashed_pictures_are_not_cut(tmp_path: Path) -> None:
    how = Preprocessing(image_size=IMAGE_SIZE, resize=IMAGE_SIZE, mode=ResizeMode.SQUASH)
    made = package(make(tmp_path / "b", how), Consumer.DEEPSTREAM)
    env = stand_in(tmp_path / "bin", "gst-launch-1.0")
    assert "src-crop=0:0:640:480" in run(made.path / "pipeline.sh", "a.mp4", "640", "480", "b.mp4", env=env)
    done = subprocess.run(["sh", str(made.path / "pipeline.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "usage" in done.stderr


def test_gstreamer_parses_the_pipeline(tmp_path: Path) -> None:
    """NVIDIA's elements are replaced by ``identity`` and ``funnel``: names, links and quoting are GStreamer's."""
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("no gst-launch-1.0 here: the pipeline was not parsed by GStreamer")
    made = package(make(tmp_path / "b"), Consumer.DEEPSTREAM)
    text = (made.path / "pipeline.sh").read_text()
    text = re.sub(r"nvstreammux name=mux[^!]*", "funnel name=mux ", text)
    text, elements = re.subn(r"\bnv(v4l2decoder|videoconvert|infer|dsosd|v4l2h264enc)\b[^!]*", "identity ", text)
    assert elements == 7
    text = text.replace("video/x-raw(memory:NVMM),format=NV12", "video/x-h264")  # what identity passes on

    def launched(script: str) -> str:
        (made.path / "parsed.sh").write_text(script)
        command = ["sh", str(made.path / "parsed.sh"), "no.mp4", "640", "480", str(tmp_path / "out.mp4")]
        env = {**os.environ, "LC_ALL": "C"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env).stderr

    said = launched(text)
    assert "erroneous pipeline" not in said and "no.mp4" in said  # it was built, and then the file was looked for
    assert "erroneous pipeline" in launched(text.replace("mux.sink_0", "mux.nothing"))


def test_what_nvinfer_cannot_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--target tensorrt"):
        package(make(tmp_path / "a", precision=Precision.INT8, style=QdqStyle.CPU), Consumer.DEEPSTREAM)
    with pytest.raises(UsageError, match="--batch 1:4:4"):
        package(make(tmp_path / "c", batch=BatchRange(4, 4, 4)), Consumer.DEEPSTREAM)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make(tmp_path / "b")
    monkeypatch.delitem(sys.modules, "resnest_edge.graph.planar", raising=False)
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    with pytest.raises(UnavailableError, match=r"onnx_ir.*resnest-edge\[export\]"):
        package(bundle, Consumer.DEEPSTREAM)
