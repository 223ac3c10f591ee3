"""The C++ example, compiled and run: the same pixels and the same answers as in Python.

ONNX Runtime's headers are in no Python package: ``make cpp-check`` fetches them; ``ONNXRUNTIME_ROOT`` says where others
are. The TensorRT side is compiled against a stand-in that computes, because no TensorRT is here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from resnest_edge.bundle import Manifest, write_bundle
from resnest_edge.graph.folding import fold_interface
from resnest_edge.graph.model import save_graph
from resnest_edge.images import transform
from resnest_edge.spec import (
    BatchRange,
    GraphInfo,
    InputFormat,
    Interpolation,
    Precision,
    Preprocessing,
    ResizeMode,
    Target,
)
from tests.support.onnx_run import run_ort

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "cpp"
LABELS = ("cat", "dog", "grey whale", "tench, Tinca tinca", "fünf", "six")
SIDE = 24
MODES = [(ResizeMode.SHORTER_SIDE, 28), (ResizeMode.CENTER_THEN_RESIZE, 28), (ResizeMode.SQUASH, SIDE)]
SIZES = [(61, 47), (24, 90), (15, 20), (160, 120)]  # odd, tall, enlarged, several times as large


def tool(name: str, why: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here: {why}")
    return found


def sdk() -> str:
    """Where ONNX Runtime's headers and library are; empty where the compiler is to find them."""
    root = os.environ.get("ONNXRUNTIME_ROOT", "")
    return str(Path(root).resolve()) if root else ""


def header(name: str, package: str) -> Path:
    folders = [*([Path(sdk()) / "include"] if sdk() else []), Path("/usr/include"), Path("/usr/local/include")]
    for folder in (path for base in folders for path in (base, base / "onnxruntime")):
        if (folder / name).is_file():
            return folder
    pytest.skip(f"{name} is not here ({package}): the C++ example was not compiled")


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built by its CMake with ONNX Runtime."""
    cmake = tool("cmake", "the C++ example was not compiled")
    tool("c++", "the C++ example was not compiled")
    header("onnxruntime_cxx_api.h", "`make cpp-check` fetches it, or set ONNXRUNTIME_ROOT")
    header("nlohmann/json.hpp", "Debian: nlohmann-json3-dev")
    build = tmp_path_factory.mktemp("build")
    strict = ["-DCMAKE_CXX_FLAGS=-Werror", "-DCMAKE_BUILD_TYPE=Debug", f"-DONNXRUNTIME_ROOT={sdk()}"]
    for command in ([cmake, "-S", str(SOURCE), "-B", str(build), *strict], [cmake, "--build", str(build)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "classify"


@pytest.fixture(scope="module")
def classify_tensorrt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's TensorRT side, against the stand-in."""
    compiler = tool("c++", "the TensorRT side of the C++ example was not compiled")
    header("nlohmann/json.hpp", "Debian: nlohmann-json3-dev")
    program = tmp_path_factory.mktemp("build") / "classify"
    sources = [str(SOURCE / f"{name}.cpp") for name in ("main", "bundle", "picture", "session_tensorrt")]
    flags = [
        "-std=c++17",
        "-O0",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        "-I",
        str(ROOT / "tests/examples/stand_in"),
    ]
    done = subprocess.run([compiler, *flags, *sources, "-o", str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


@dataclass(frozen=True)
class Made:
    """A bundle on disk and its graph."""

    path: Path
    model: ir.Model
    how: Preprocessing
    form: InputFormat


def make(folder: Path, how: Preprocessing, form: InputFormat, batch: BatchRange, target: Target) -> Made:
    """A bundle whose logits are a random sum of all pixels: one pixel that is off by one shows in the answers."""
    weights = np.random.default_rng(0).normal(0, 0.5, (3 * SIDE * SIDE, len(LABELS))).astype(np.float32)
    first = batch.minimum if batch.fixed else "batch"
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["images"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])],
        "sums",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [first, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [first, len(LABELS)])],
        [numpy_helper.from_array(weights, "w")],
    )
    core = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))
    model = fold_interface(core, how, input_format=form)
    folder.mkdir()
    save_graph(model, folder / "model.onnx")
    engine = None
    if target is Target.TENSORRT:
        engine = "engine.plan"
        (folder / engine).write_text(f"plan {len(LABELS)} {int(form is InputFormat.FLOAT_NCHW)}")
    info = GraphInfo("sums", Precision.FP32, Precision.FP32, None, 8, form, batch, SIDE, len(LABELS))
    write_bundle(folder, Manifest(info, how, target, engine), LABELS)
    return Made(folder, model, how, form)


def picture(path: Path, size: tuple[int, int]) -> Image.Image:
    """A PPM of noise, on which every pixel of a resize counts."""
    noise = np.random.default_rng(sum(size)).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    image = Image.fromarray(noise)
    image.save(path)
    return image


def frame_of(made: Made, image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8 | np.float32]]:
    frame = transform(image, made.how)[None]
    if made.form is InputFormat.UINT8_NHWC:
        return frame
    return np.ascontiguousarray(frame.transpose(0, 3, 1, 2), dtype=np.float32)


def answers(program: Path, bundle: Path, image: Path) -> list[tuple[str, float]]:
    done = subprocess.run([str(program), str(bundle), str(image)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [(line[9:], float(line[:8])) for line in done.stdout.splitlines()]


def expect(got: list[tuple[str, float]], probabilities: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    order = np.argsort(-probabilities, kind="stable")[:5]
    assert [label for label, _ in got] == [LABELS[index] for index in order]
    np.testing.assert_allclose([value for _, value in got], probabilities[order], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("mode", "resize"), MODES)
@pytest.mark.parametrize("interpolation", Interpolation)
def test_the_answers_are_pythons(
    classify: Path, tmp_path: Path, mode: ResizeMode, resize: int, interpolation: Interpolation
) -> None:
    how = Preprocessing(SIDE, resize, mode, interpolation)
    made = make(tmp_path / "b", how, InputFormat.UINT8_NHWC, BatchRange(1, 1, 4), Target.ONNXRUNTIME)
    for size in SIZES:
        image = picture(tmp_path / "picture.ppm", size)
        expected = run_ort(made.model, frame_of(made, image))[1][0]
        expect(answers(classify, made.path, tmp_path / "picture.ppm"), expected)


@pytest.mark.parametrize("form", InputFormat)
def test_both_inputs_and_a_batch_that_has_to_be_filled(classify: Path, tmp_path: Path, form: InputFormat) -> None:
    made = make(tmp_path / "b", Preprocessing(SIDE, 28), form, BatchRange(3, 3, 3), Target.ONNXRUNTIME)
    image = picture(tmp_path / "picture.ppm", (40, 50))
    expected = run_ort(made.model, np.repeat(frame_of(made, image), 3, axis=0))[1][0]
    expect(answers(classify, made.path, tmp_path / "picture.ppm"), expected)


def test_a_jpeg_is_decoded(classify: Path, tmp_path: Path) -> None:
    made = make(
        tmp_path / "b", Preprocessing(SIDE, 28), InputFormat.UINT8_NHWC, BatchRange(1, 1, 1), Target.ONNXRUNTIME
    )
    picture(tmp_path / "picture.ppm", (64, 64)).save(tmp_path / "picture.jpg", quality=95, subsampling=0)
    done = subprocess.run(
        [str(classify), str(made.path), str(tmp_path / "picture.jpg")], capture_output=True, text=True, check=False
    )
    if "without libjpeg" in done.stderr:
        pytest.skip("no libjpeg here: the example reads PPM alone")
    expected = run_ort(made.model, frame_of(made, Image.open(tmp_path / "picture.jpg")))[1][0]
    assert done.stdout.splitlines()[0][9:] == LABELS[int(expected.argmax())]
    cut = tmp_path / "cut.jpg"
    cut.write_bytes((tmp_path / "picture.jpg").read_bytes()[:2000])
    done = subprocess.run([str(classify), str(made.path), str(cut)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "") and "error: Premature end of JPEG file" in done.stderr


def test_what_cannot_be_used_is_said(classify: Path, tmp_path: Path) -> None:
    made = make(
        tmp_path / "b", Preprocessing(SIDE, 28), InputFormat.UINT8_NHWC, BatchRange(1, 1, 1), Target.ONNXRUNTIME
    )
    picture(tmp_path / "picture.ppm", (40, 40))
    (tmp_path / "cut.ppm").write_bytes((tmp_path / "picture.ppm").read_bytes()[:500])
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "manifest.json").write_text('{"schema": 2}')
    cases = [
        ((made.path, tmp_path / "cut.ppm"), 1, "cut short"),
        ((made.path, tmp_path / "none.ppm"), 1, "cannot be read"),
        ((tmp_path, tmp_path / "picture.ppm"), 1, "manifest.json cannot be read"),
        ((tmp_path / "schema", tmp_path / "picture.ppm"), 1, "schema 1, not 2"),
        ((made.path,), 2, "usage"),
    ]
    for arguments, code, words in cases:
        done = subprocess.run([str(classify), *map(str, arguments)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (code, "") and words in done.stderr


@pytest.mark.parametrize("form", InputFormat)
def test_the_calls_to_tensorrt_fit_together(classify_tensorrt: Path, tmp_path: Path, form: InputFormat) -> None:
    how = replace(Preprocessing(SIDE, 28), interpolation=Interpolation.BICUBIC)
    made = make(tmp_path / "b", how, form, BatchRange(2, 2, 4), Target.TENSORRT)
    values = frame_of(made, picture(tmp_path / "picture.ppm", (61, 47))).reshape(-1).astype(np.float64)
    places = np.arange(values.size)
    expected = [np.mean(values * ((places + index) % 7) / 1785.0) for index in range(len(LABELS))]
    got = answers(classify_tensorrt, made.path, tmp_path / "picture.ppm")
    expect(got, np.asarray(expected, np.float32))
    (made.path / "engine.plan").write_text("of another version")
    done = subprocess.run(
        [str(classify_tensorrt), str(made.path), str(tmp_path / "picture.ppm")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "one TensorRT version and one GPU" in done.stderr
