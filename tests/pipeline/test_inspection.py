"""Bundles opened up: which of the model's layers runs in what, told by the runtimes themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from resnest_edge.backends.base import BuildOptions
from resnest_edge.backends.inspection import EngineLayer
from resnest_edge.backends.tensorrt import inspector
from resnest_edge.backends.tensorrt.inspector import EngineInformation, parse_information
from resnest_edge.bundle import Bundle, open_bundle, write_bundle
from resnest_edge.errors import BundleDamagedError
from resnest_edge.pipeline.bundles import Origin, build_bundle, export_bundle
from resnest_edge.pipeline.inspection import Inspection, inspect_path, summarise
from resnest_edge.pipeline.runtimes import backend_for
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import Form, Precision, Preprocessing, QdqStyle, Target
from tests.backends.typed_graphs import typed_graph
from tests.support.tiny import CLASSES, IMAGE_SIZE

CPUS = (Target.OPENVINO, Target.ONNXRUNTIME)
ORIGIN = Origin(
    Preprocessing(image_size=IMAGE_SIZE, resize=IMAGE_SIZE),
    tuple(str(index) for index in range(CLASSES)),
    calibration={"method": "max", "images": 1, "images_digest": "0" * 64},
    parents={"checkpoint": "1" * 64},
    command="resnest-edge build",
)


def build(target: Target, precision: Precision, out: Path, *, batch: str = "1:2:8", form: Form = Form.SPLIT) -> Bundle:
    backend = backend_for(target)
    typed = typed_graph(precision, form=form, batch=batch, placement=backend.int8_placement())
    return build_bundle(typed, backend, ORIGIN, out, force=False, options=BuildOptions())


@pytest.fixture(scope="module", params=CPUS, ids=str)
def int8(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    return inspect_path(build(request.param, Precision.INT8, tmp_path_factory.mktemp("inspection") / "int8").path)


def test_every_weighted_layer_is_found_and_timed(int8: Inspection) -> None:
    assert int8.reason is None
    assert [layer.name for layer in int8.model_layers] == list(int8.bundle.manifest.layers)
    for layer in int8.model_layers:
        assert layer.engine_layer is not None, layer.name
        assert layer.milliseconds is not None and layer.milliseconds >= 0
    matrix = [layer.engine_layer for layer in int8.model_layers]
    assert len(set(matrix)) == len(matrix), "two layers of the model in one layer of the engine"


def test_what_runs_agrees_with_the_build_s_own_account(int8: Inspection) -> None:
    """The build counted kernels without names; the layers, mapped by name, add up to the same."""
    counted = sum(int8.bundle.manifest.details["matrix_layers"].values())
    assert sum(layer.matrix for layer in int8.engine_layers) == counted == len(int8.model_layers)


def test_convolutions_run_in_int8_and_what_does_not_is_named(int8: Inspection) -> None:
    runs = {layer.name: layer.runs for layer in int8.model_layers}
    target = int8.bundle.manifest.target
    classifier = runs.pop("fc")
    assert set(runs.values()) == {"int8"}
    if target is Target.ONNXRUNTIME:  # it has no INT8 kernel for a Gemm that gives floats
        engine = onnx.load(int8.bundle.engine)
        assert [node.op_type for node in engine.graph.node if node.name == "fc"] == ["Gemm"]
        assert classifier == "fp32"
        assert int8.warnings == ["asked to run in INT8, and runs in FP32: fc"]
    else:
        assert classifier == "int8" and int8.warnings == []


def test_the_json_keeps_the_manifest_s_keys(int8: Inspection) -> None:
    value = int8.to_json()
    json.dumps(value, allow_nan=False)
    manifest = int8.bundle.manifest.to_json()
    assert {key: value[key] for key in manifest if key != "layers"} == {
        key: item for key, item in manifest.items() if key != "layers"
    }
    assert value["precision"] == {"asked": "int8", "run": "int8"}
    assert sum(value["precisions"].values()) == len(value["layers"])
    assert value["size_bytes"] > 0 and value["labels"] == CLASSES
    assert value["trtexec"] is None
    assert {"name", "asked", "runs", "engine_layer", "kind", "kernel", "milliseconds"} == value["layers"][0].keys()


def test_the_summary_holds_every_layer_once(int8: Inspection) -> None:
    rows = summarise(int8.engine_layers)
    assert sum(row["layers"] for row in rows) == len(int8.engine_layers)
    times = [layer.milliseconds for layer in int8.engine_layers if layer.milliseconds is not None]
    shown = [row["milliseconds"] or 0 for row in rows]
    assert sum(shown) == pytest.approx(sum(times))
    assert shown == sorted(shown, reverse=True)


@pytest.mark.parametrize("target", CPUS)
@pytest.mark.parametrize("form", [Form.GROUPED, Form.DENSE])
def test_floats_run_as_asked_in_every_form(target: Target, form: Form, tmp_path: Path) -> None:
    found = inspect_path(build(target, Precision.FP32, tmp_path / "fp32", batch="2", form=form).path)
    assert {layer.runs for layer in found.model_layers} == {"fp32"}
    assert found.warnings == [] and found.precisions() == {"fp32": len(found.model_layers)}


@pytest.mark.parametrize("target", CPUS)
def test_an_exported_bundle_is_described_without_layers(target: Target, tmp_path: Path) -> None:
    typed = typed_graph(Precision.INT8, placement=backend_for(target).int8_placement())
    exported = export_bundle(typed, ORIGIN, target=target, out=tmp_path / "x", force=False)
    found = inspect_path(exported.path)
    assert found.reason is not None and "no engine" in found.reason and "resnest-edge build" in found.reason
    assert found.precisions() == {"unknown": len(found.model_layers)}
    assert found.engine_layers == [] and found.warnings == []


def test_a_tensorrt_bundle_without_tensorrt_is_described_with_its_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    placement = Placement(style=QdqStyle.PORTABLE, float_type=Precision.FP16)
    typed = typed_graph(Precision.INT8, placement=placement)
    exported = export_bundle(typed, ORIGIN, target=Target.TENSORRT, out=tmp_path / "my engine", force=False)
    value = inspect_path(exported.path).to_json()
    assert value["trtexec"].keys() == {"build", "run"}
    assert "--optShapes=images:2x24x24x3" in value["trtexec"]["build"]
    assert "'--loadEngine=" in value["trtexec"]["run"]  # a path with a blank, quoted


def tensorrt_bundle(tmp_path: Path, information: EngineInformation, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle that says it holds a TensorRT engine, whose inspector would give this."""
    placement = Placement(style=QdqStyle.PORTABLE, float_type=Precision.FP16)
    typed = typed_graph(Precision.INT8, placement=placement)
    path = export_bundle(typed, ORIGIN, target=Target.TENSORRT, out=tmp_path / "cam", force=False).path
    (path / "engine.plan").write_bytes(b"plan")
    manifest = replace(open_bundle(path).manifest, engine="engine.plan", runtime="10.3.0", files={})
    write_bundle(path, manifest, ORIGIN.labels)
    monkeypatch.setattr(inspector, "inspect_engine", lambda flavour, engine, details: information)
    return path


def test_a_tensorrt_engine_is_mapped_to_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = list(typed_graph(Precision.INT8).layers)
    layers = [
        EngineLayer(f"{name} + relu", "CaskConvolution", (name, "relu"), "fp16" if name == names[3] else "int8", True)
        for name in names
    ]
    path = tensorrt_bundle(tmp_path, EngineInformation(layers, ["images"], True), monkeypatch)
    found = inspect_path(path)
    assert found.warnings == [f"asked to run in INT8, and runs in FP16: {names[3]}"]
    assert found.precisions() == {"fp16": 1, "int8": len(names) - 1}
    commands = found.trtexec()
    assert commands is not None and f"--loadEngine={path}/engine.plan" in commands["run"]
    assert "--stronglyTyped" in commands["build"]


def test_an_engine_that_tells_names_only_is_not_taken_for_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    information = parse_information(json.dumps({"Layers": ["stem.conv1 + Relu"], "Bindings": ["images"]}))
    found = inspect_path(tensorrt_bundle(tmp_path, information, monkeypatch))
    short, unknown = found.warnings
    assert "names only" in short and "does not say" in unknown
    assert found.precisions() == {"unknown": len(found.model_layers)}


def test_an_rtx_engine_built_without_a_gpu_says_why_its_layers_are_not_shown(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    found = inspect_path(build(Target.TENSORRT_RTX, Precision.INT8, tmp_path / "rtx", batch="1").path)
    if found.reason is None:  # a machine with an RTX GPU
        assert found.engine_layers
    else:
        assert "driver" in found.reason or "GPU" in found.reason


def test_no_bundle_is_no_inspection(tmp_path: Path) -> None:
    with pytest.raises(BundleDamagedError, match="no bundle here"):
        inspect_path(tmp_path / "nothing")
