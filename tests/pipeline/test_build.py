"""The main job on the demo model and a small folder of pictures, on every runtime that runs here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnest_edge.backends.base import SessionOptions
from resnest_edge.bundle import open_bundle
from resnest_edge.errors import OutputError, ScalesError, UsageError
from resnest_edge.images import iter_batches
from resnest_edge.measure.statistics import sqnr_db
from resnest_edge.pipeline import making
from resnest_edge.pipeline.build import BuildReport, build
from resnest_edge.pipeline.calibrate import calibrate
from resnest_edge.pipeline.export import export
from resnest_edge.pipeline.pictures import choose_pictures, open_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.runtimes import open_session
from resnest_edge.spec import BatchRange, Form, InputFormat, Precision, Target
from tests.support.scenes import write_scenes

CPU_TARGETS = (Target.OPENVINO, Target.ONNXRUNTIME)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("pictures"), "test", 120)


@pytest.fixture(scope="module")
def request_for(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> BuildRequest:
    return BuildRequest(
        precisions=(Precision.FP32, Precision.INT8),
        targets=CPU_TARGETS,
        images=str(pictures),
        calib_images=40,
        out=tmp_path_factory.mktemp("out") / "engines",
    )


@pytest.fixture(scope="module")
def built(request_for: BuildRequest) -> BuildReport:
    return build(request_for)


def test_every_row_says_what_design_promises(built: BuildReport) -> None:
    keys = {"bundle", "target", "precision", "top1", "fp32_top1", "drop", "drop_ci95", "agreement", "logit_sqnr_db"}
    keys |= {"calibration_images", "evaluated_images", "seconds"}
    assert len(built.results) == 4
    for row in built.results:
        assert keys <= row.keys()
        assert row["evaluated_images"] == 80
        assert row["drop"] == pytest.approx(row["fp32_top1"] - row["top1"])
        assert row["drop_ci95"][0] <= row["drop"] <= row["drop_ci95"][1]
        json.dumps(row, allow_nan=False)
    assert any("calibration did not use" in note for note in built.notes)


def test_int8_runs_in_int8_and_stays_close(built: BuildReport) -> None:
    for row in built.results:
        assert row["precision_run"] == row["precision"]
        if row["precision"] == "int8":
            assert row["calibration_images"] == 40
            assert row["logit_sqnr_db"] > 20
            assert row["agreement"] > 90


def test_the_manifest_tells_the_whole_story(built: BuildReport) -> None:
    for row in built.results:
        bundle = open_bundle(Path(row["bundle"]))
        manifest = bundle.manifest
        assert bundle.labels == tuple("0123456789")
        assert set(manifest.files) >= {"model.onnx", "labels.txt", manifest.engine}
        assert set(manifest.layers.values()) == {row["precision"]}
        assert "layer3.0.split_attention.conv.0" in manifest.layers
        assert (manifest.calibration is not None) == (row["precision"] == "int8")
        assert manifest.runtime and manifest.machine["cores"] >= 1 and manifest.parents["checkpoint"]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_session_answers_the_same_at_any_batch(built: BuildReport, pictures: Path, batch: int) -> None:
    for row in built.results:
        bundle = open_bundle(Path(row["bundle"]))
        images = next(iter_batches(open_pictures(str(pictures), 10), bundle.manifest.preprocessing, 7)).images
        with (
            open_session(bundle.path, SessionOptions()) as one,
            open_session(bundle.path, SessionOptions(batch, 2)) as many,
        ):
            expected, answer = one.run(images), many.run(images)
        assert answer.logits.shape == (7, 10)
        if bundle.manifest.info.precision is Precision.INT8:
            # Sums of floats in another order can round a value to the next of 256 steps: far below INT8's own error.
            assert sqnr_db(expected.logits, answer.logits) > 40
        else:
            np.testing.assert_allclose(answer.logits, expected.logits, atol=1e-3 * expected.logits.std())
        np.testing.assert_allclose(answer.probabilities.sum(1), 1.0, atol=1e-5)


def test_nothing_is_overwritten_without_force(request_for: BuildRequest, built: BuildReport) -> None:
    with pytest.raises(OutputError, match="--force"):
        build(request_for)
    open_bundle(Path(built.results[0]["bundle"]))


def test_the_device_builds_what_the_workstation_exported(
    built: BuildReport, request_for: BuildRequest, tmp_path: Path
) -> None:
    exported = export(
        replace(request_for, precisions=(Precision.INT8,), targets=(Target.OPENVINO,), out=tmp_path / "cam")
    )
    assert exported[0].manifest.engine is None
    again = build(BuildRequest(what=str(tmp_path / "cam"), out=tmp_path / "engine", eval_images=request_for.images))
    (row,) = again.results
    expected = next(r for r in built.results if r["target"] == "openvino" and r["precision"] == "int8")
    assert row["precision"] == row["precision_run"] == "int8"
    assert row["evaluated_images"] == 120 and row["top1"] is not None
    assert row["drop"] is None and "reference" in row["reason"]
    ours, theirs = (open_bundle(Path(path)) for path in (row["bundle"], expected["bundle"]))
    assert ours.manifest.files["model.onnx"] == theirs.manifest.files["model.onnx"]


def test_saved_scales_give_the_same_graph(built: BuildReport, request_for: BuildRequest, tmp_path: Path) -> None:
    one = replace(request_for, targets=(Target.OPENVINO,), precisions=(Precision.INT8,))
    found = calibrate(one, tmp_path / "list.txt", tmp_path / "scales.json")
    assert found["images"] == 40
    with_scales = replace(one, images=None, scales=tmp_path / "scales.json", out=tmp_path / "a", eval_images=one.images)
    (row,) = build(with_scales).results
    expected = next(r for r in built.results if r["target"] == "openvino" and r["precision"] == "int8")
    digests = {open_bundle(Path(r["bundle"])).manifest.files["model.onnx"] for r in (row, expected)}
    assert len(digests) == 1
    (listed,) = export(replace(one, images=str(tmp_path / "list.txt"), out=tmp_path / "b"))
    assert listed.manifest.files["model.onnx"] in digests
    with pytest.raises(ScalesError, match="belong to graph"):
        export(replace(with_scales, form=Form.GROUPED, out=tmp_path / "c"))


def test_a_fixed_batch_and_float_frames(request_for: BuildRequest, tmp_path: Path) -> None:
    asked = replace(
        request_for,
        precisions=(Precision.INT8,),
        targets=(Target.OPENVINO,),
        batch=BatchRange(4, 4, 4),
        input_format=InputFormat.FLOAT_NCHW,
        out=tmp_path / "x",
    )
    (row,) = build(asked).results
    bundle = open_bundle(tmp_path / "x")
    assert bundle.manifest.inputs()[0].shape == (4, 3, 96, 96)
    assert row["evaluated_images"] == 80 and row["agreement"] > 90
    with pytest.raises(UsageError, match="outside"):
        open_session(tmp_path / "x", SessionOptions(batch=2))


def test_a_failed_build_leaves_nothing(
    request_for: BuildRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "build_bundle", broken)
    with pytest.raises(KeyboardInterrupt):
        build(replace(request_for, precisions=(Precision.FP32,), targets=(Target.OPENVINO,), out=tmp_path / "x"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precisions": (Precision.FP16,)}, "FP16"),
        ({"precisions": (Precision.BF16,), "targets": (Target.ONNXRUNTIME,)}, "BF16"),
        ({"what": "resnest50"}, "--weights"),
        ({"what": "resnest51", "weights": "none"}, "resnest51"),
        ({"what": "x.onnx", "weights": "none"}, "ONNX"),
    ],
)
def test_what_cannot_be_is_refused_before_work(
    change: dict[str, object], message: str, request_for: BuildRequest, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        build(replace(request_for, out=tmp_path / "x", **change))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_calibration_images_never_measure(pictures: Path) -> None:
    chosen = choose_pictures(str(pictures), None, classes=10, count=40, seed=0)
    assert chosen.calibration is not None and chosen.evaluation is not None
    digests = [{images.digest(i) for i in range(len(images))} for images in (chosen.calibration, chosen.evaluation)]
    assert len(digests[0]) == 40 and len(digests[1]) == 80 and not digests[0] & digests[1]
    everything = choose_pictures(str(pictures), None, classes=10, count=500, seed=0)
    assert everything.evaluation is None and "all 120" in everything.note
