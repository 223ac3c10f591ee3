"""Every verb from the outside: what it prints, what it leaves, and the exit code of what goes wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from resnest_edge.cli import entry
from resnest_edge.demo.model import weights_path
from tests.support.bundles import write_hollow
from tests.support.cli import CommandLine

FOREIGN = ("--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2", "--color", "rgb", "--resize", "32")


@pytest.mark.usefixtures("workstation")
def test_build_as_json_is_one_object(cli: CommandLine, pictures: Path, tmp_path: Path) -> None:
    ran = cli(
        *("build", "--precision", "int8", "--target", "openvino", "--images", pictures, "--calib-images", 30),
        *("--out", tmp_path / "x", "--json"),
    )
    assert ran.code == 0, ran.err
    (row,) = json.loads(ran.out)["results"]
    assert row["bundle"] == str(tmp_path / "x") and row["evaluated_images"] == 30
    assert "demo model" in ran.err.splitlines()[0]


@pytest.mark.usefixtures("workstation")
def test_build_prints_a_table(cli: CommandLine, pictures: Path, tmp_path: Path) -> None:
    ran = cli("build", "--images", pictures, "--calib-images", 30, "--out", tmp_path / "engine with spaces é")
    assert ran.code == 0, ran.err
    assert "int8" in ran.out and "Drop" in ran.out


def test_evaluate_against_a_reference(cli: CommandLine, engines: Path, pictures: Path) -> None:
    ran = cli("evaluate", engines / "int8", "--reference", engines / "fp32", "--images", pictures, "--json")
    value = json.loads(ran.out)
    assert ran.code == 0
    assert {"bundle", "images", "top1", "top1_ci95", "top5", "reference_top1", "drop", "drop_ci95"} <= value.keys()
    assert {"agreement", "logit_sqnr_db"} <= value.keys()
    assert value["images"] == 60
    assert "Agreement" in cli("evaluate", engines / "int8", "--reference", engines / "fp32", "--images", pictures).out


def test_benchmark_and_report(cli: CommandLine, engines: Path, pictures: Path, tmp_path: Path) -> None:
    quick = ("--rounds", 2, "--seconds", 0.05, "--warmup", 0.0)
    ran = cli("benchmark", engines / "fp32", engines / "int8", "--batch", 1, "--batch", 2, *quick, "--json")
    assert ran.code == 0, ran.err
    value = json.loads(ran.out)
    assert len(value["results"]) == 4
    for row in value["results"]:
        assert {"bundle", "target", "precision", "batch", "streams", "latency_ms", "images_per_second"} <= row.keys()
        assert {"mean", "p50", "p90", "p95", "p99"} == row["latency_ms"].keys()
    ran = cli("report", engines / "fp32", engines / "int8", "--images", pictures, *quick, "--out", tmp_path / "r")
    assert ran.code == 0, ran.err
    assert {"report.json", "report.md", "index.html", "pull-request.md", "results.csv"} == {
        path.name for path in (tmp_path / "r").iterdir()
    }
    assert "demo" in (tmp_path / "r" / "index.html").read_text(encoding="utf-8")
    assert cli("report", tmp_path / "r" / "report.json", "--out", tmp_path / "again").code == 0
    assert (tmp_path / "again" / "index.html").read_bytes() == (tmp_path / "r" / "index.html").read_bytes()
    assert cli("report", tmp_path / "r" / "report.json", "--out", tmp_path / "r").code == 2


@pytest.mark.usefixtures("workstation")
def test_calibrate_writes_a_list_that_build_takes(cli: CommandLine, pictures: Path, tmp_path: Path) -> None:
    ran = cli("calibrate", "--images", pictures, "--sample", 20, "--seed", 3, "--list", tmp_path / "l.txt", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["images"] == 20
    first = (tmp_path / "l.txt").read_bytes()
    assert cli("calibrate", "--images", pictures, "--sample", 20, "--seed", 3, "--list", tmp_path / "l.txt").code == 2
    cli("calibrate", "--images", pictures, "--sample", 20, "--seed", 3, "--list", tmp_path / "l.txt", "--force")
    assert (tmp_path / "l.txt").read_bytes() == first
    ran = cli("build", "--images", tmp_path / "l.txt", "--eval-images", pictures, "--out", tmp_path / "x", "--json")
    assert json.loads(ran.out)["results"][0]["calibration_images"] == 20


@pytest.mark.usefixtures("workstation")
def test_export_then_build(cli: CommandLine, pictures: Path, tmp_path: Path) -> None:
    ran = cli(
        "export", "--images", pictures, "--calib-images", 30, "--target", "tensorrt", "--out", tmp_path / "x", "--json"
    )
    assert ran.code == 0, ran.err
    manifest = json.loads((tmp_path / "x" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["engine"] is None and manifest["graph"]["style"] == "portable"
    assert manifest["graph"]["float_type"] == "fp16"
    ran = cli("build", tmp_path / "x", "--target", "openvino", "--out", tmp_path / "y")
    assert ran.code == 2 and "quantized for tensorrt" in ran.err
    ran = cli("evaluate", tmp_path / "x", "--images", pictures)
    assert ran.code == 4 and "no engine" in ran.err


@pytest.mark.usefixtures("workstation")
def test_doctor(cli: CommandLine) -> None:
    parts = {part["name"]: part for part in json.loads(cli("doctor", "--json").out)["parts"]}
    assert parts["openvino"]["runs"] and not parts["tensorrt"]["runs"]


def test_models(cli: CommandLine) -> None:
    assert "resnest50" in cli("models").out
    names = [model["name"] for model in json.loads(cli("models", "--json").out)["models"]]
    assert "resnest269" in names and len(names) == len(set(names))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("build", "resnest51", "--weights", "none"), 2, "resnest51"),
        (("build", "my.pth"), 2, "--weights my.pth"),
        (("build", "--precision", "int9"), 2, "int9"),
        (("build", "--batch", "8:1"), 2, "MIN:OPT:MAX"),
        (("build", "--batch", "8:4:1"), 2, "range"),
        (("build", "--weight-scales", "min"), 2, "min"),
        (("build", "--resize", "big"), 2, "squash"),
        (("build", "--mean", "1,2"), 2, "three numbers"),
        (("build", "--target", "tensorrt"), 3, "pip install"),
        (("evaluate", "missing", "--images", "demo:test"), 4, "bundle"),
        (("benchmark", "missing"), 4, "bundle"),
        (("report", "missing"), 4, "bundle"),
        (("report", "missing.json"), 2, "missing.json"),
        (("frobnicate",), 2, "frobnicate"),
    ],
)
def test_wrong_input_gets_its_code_and_one_message(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    cli: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = cli(*arguments)
    assert ran.code == code, ran.err
    assert message in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("workstation")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "--precision", "fp16"), "FP16"),
        (("build", "--precision", "bf16", "--target", "onnxruntime"), "BF16"),
        (("build", "--method", "best", "--images", "PICTURES"), "best"),
        (("build", "--workspace", "64", "--target", "openvino"), "--workspace"),
        (("build", "--weights", "missing.pth"), "missing.pth"),
        (("build", "missing.onnx", *FOREIGN), "missing.onnx"),
        (("build", "--images", "missing"), "missing"),
        (("build", "--scales", "missing.json"), "missing.json"),
        (("calibrate", "--images", "PICTURES"), "--list"),
        (("calibrate", "resnest50", "--images", "PICTURES", "--list", "l.txt"), "no network"),
    ],
)
def test_wrong_input_of_a_build_ends_with_2_and_one_message(
    arguments: tuple[str, ...],
    message: str,
    cli: CommandLine,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = tuple(str(pictures) if word == "PICTURES" else word for word in arguments)
    test_wrong_input_gets_its_code_and_one_message(words, 2, message, cli, tmp_path, monkeypatch)


@pytest.mark.usefixtures("workstation")
def test_a_damaged_picture_is_named_or_skipped_on_request(cli: CommandLine, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    shutil.copytree(pictures, folder)
    bad = folder / "3" / "0003.png"
    bad.write_bytes(bad.read_bytes()[:200])
    arguments = ("build", "--images", folder, "--calib-images", 60, "--eval-images", pictures, "--out", tmp_path / "x")
    ran = cli(*arguments)
    assert ran.code == 2 and "0003.png" in ran.err
    assert not (tmp_path / "x").exists()
    ran = cli(*arguments, "--skip-bad", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["results"][0]["calibration_images"] == 59
    assert "0003.png" in ran.err


def test_a_damaged_bundle_is_refused(cli: CommandLine, engines: Path, pictures: Path, tmp_path: Path) -> None:
    copy = tmp_path / "int8"
    shutil.copytree(engines / "int8", copy)
    with (copy / "engine.bin").open("r+b") as stream:
        stream.seek(1000)
        byte = stream.read(1)
        stream.seek(1000)
        stream.write(bytes([byte[0] ^ 1]))
    ran = cli("evaluate", copy, "--images", pictures)
    assert ran.code == 4 and "engine.bin" in ran.err
    (copy / "manifest.json").write_text("{", encoding="utf-8")
    assert cli("evaluate", copy, "--images", pictures).code == 4


def test_an_unlabelled_folder_measures_agreement_only(cli: CommandLine, engines: Path, tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for index in range(4):
        Image.new("RGB", (112, 112), (index * 40, 20, 90)).save(folder / f"{index}.png")
    ran = cli("evaluate", engines / "int8", "--reference", engines / "fp32", "--images", folder, "--json")
    value = json.loads(ran.out)
    assert ran.code == 0
    assert value["top1"] is None and value["drop"] is None and value["agreement"] is not None


def test_wrong_number_of_class_folders(cli: CommandLine, engines: Path, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nine"
    shutil.copytree(pictures, folder)
    shutil.rmtree(folder / "9")
    ran = cli("evaluate", engines / "int8", "--images", folder)
    assert ran.code == 2 and "9" in ran.err and "10" in ran.err


@pytest.mark.usefixtures("workstation")
def test_unknown_preprocessing_names_the_options(cli: CommandLine, tmp_path: Path) -> None:
    from tests.support.foreign import write_foreign

    model = write_foreign(tmp_path / "mine.onnx")
    ran = cli("build", model, "--images", "demo:train")
    assert ran.code == 2
    assert all(option in ran.err for option in ("--mean", "--std", "--color", "--resize"))


@pytest.mark.usefixtures("workstation")
def test_bring_your_own_onnx(cli: CommandLine, pictures: Path, tmp_path: Path) -> None:
    from tests.support.foreign import write_foreign

    model = write_foreign(tmp_path / "mine.onnx")
    ran = cli(
        *("build", model, *FOREIGN, "--images", pictures, "--calib-images", 30, "--precision", "int8"),
        *("--precision", "fp32", "--target", "openvino", "--target", "onnxruntime", "--out", tmp_path / "x", "--json"),
    )
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)["results"]
    assert len(rows) == 4
    assert all(row["agreement"] > 80 for row in rows)
    assert {row["precision_run"] for row in rows if row["precision"] == "int8"} == {"int8"}


@pytest.mark.usefixtures("workstation")
@pytest.mark.parametrize("verb", ["export", "sensitivity", "calibrate", "finetune"])
def test_a_bundle_is_not_taken_for_a_network(cli: CommandLine, tmp_path: Path, verb: str) -> None:
    folder, out = write_hollow(tmp_path / "cam"), tmp_path / "out.safetensors"
    ran = cli(verb, folder, "--images", "demo:train", "--out", out)
    assert ran.code == 2 and f"{folder} is a bundle" in ran.err and f"resnest-edge build {folder}" in ran.err
    assert not out.exists()


def test_a_bug_is_one_line_and_a_log(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("deliberate")

    monkeypatch.setattr(entry, "app", broken)
    ran = cli("doctor")
    assert ran.code == 70
    assert ran.err.count("\n") == 1
    log = Path(ran.err.strip().rpartition(" ")[2])
    assert "deliberate" in log.read_text(encoding="utf-8")
    log.unlink()


def test_the_installed_program_runs_and_helps() -> None:
    ran = subprocess.run([sys.executable, "-m", "resnest_edge", "--help"], capture_output=True, text=True, check=True)
    assert "build" in ran.stdout and ran.stderr == ""
    assert weights_path().is_file()
