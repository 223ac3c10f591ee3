"""`tune` from the outside: the demo model, a few milliseconds a candidate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from resnest_edge.bundle import open_bundle
from resnest_edge.errors import ParityError
from resnest_edge.pipeline.sources import find_source
from resnest_edge.pipeline.tunings import Key, make_key, record_path, save_record
from resnest_edge.search import tuning
from resnest_edge.search.tune import Tuned
from resnest_edge.spec import Form, Precision, Target
from tests.support.cli import CommandLine
from tests.support.tunings import RECORD

QUICK = ("--rounds", 6, "--seconds", 0.01, "--warmup", 0)
FP32 = ("tune", "--precision", "fp32", "--target", "onnxruntime", *QUICK)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNEST_EDGE_CACHE", str(tmp_path / "cache"))


def key_of_demo(precision: Precision) -> Key:
    return make_key(find_source(None), Target.ONNXRUNTIME, precision, 1)


@pytest.fixture
def one_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the place of the pool is varied: an export takes seconds."""
    every = tuning.make_axes
    monkeypatch.setattr(tuning, "make_axes", lambda source, placement: every(source, placement)[4:])


@pytest.mark.usefixtures("one_axis")
def test_what_is_measured_is_told_kept_and_built(cli: CommandLine, pictures: Path, tmp_path: Path) -> None:
    ran = cli(*FP32, "--json")
    assert ran.code == 0, ran.err
    value = json.loads(ran.out)
    assert value["measured_now"] and value["key"]["network"] == "resnest-demo"
    assert value["trials"][0]["form"] == "split+early-pool"
    assert all(trial["against_form"] == "split" and trial["ms"] > 0 for trial in value["trials"])
    assert value["command"].startswith("resnest-edge tune --precision fp32")
    assert Path(value["file"]).is_file()

    again = cli(*FP32)
    assert again.code == 0 and "--force measures again" in again.err
    assert "pool" in again.out and "split+early-pool" in again.out and "Chosen: " in again.out

    other = cli(*FP32, "--form", "dense")
    assert other.code == 2 and "measured with other settings (--form split)" in other.err and "--force" in other.err

    out = ("--precision", "fp32", "--target", "onnxruntime", "--eval-images", pictures, "--out", tmp_path / "x")
    built = cli("build", "--tuned", *out)
    assert built.code == 0, built.err
    assert "measured here" in built.err and value["file"] in built.err
    form = open_bundle(tmp_path / "x").manifest.info.form
    assert str(form) == value["form"]


def test_damage_is_refused_until_told_to_measure_again(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "tune", lambda start, *_, **__: Tuned(start, (), None))
    path = record_path(key_of_demo(Precision.FP32))
    path.parent.mkdir(parents=True)
    path.write_text("{")
    ran = cli(*FP32)
    assert ran.code == 2 and str(path) in ran.err and "--force" in ran.err
    assert path.read_text() == "{"
    assert cli(*FP32, "--force").code == 0
    assert json.loads(path.read_text())["schema"] == 1


def test_each_precision_is_built_in_its_own_form(cli: CommandLine, pictures: Path, tmp_path: Path) -> None:
    """Two forms in one build: INT8 is still compared with FP32, whichever form that has."""
    for precision, form in ((Precision.FP32, "dense"), (Precision.INT8, "split/grouped/split/split")):
        save_record(replace(RECORD, key=key_of_demo(precision), form=form))
    ran = cli(
        *("build", "--tuned", "--precision", "int8", "--precision", "fp32", "--target", "onnxruntime", "--json"),
        *("--images", pictures, "--calib-images", 30, "--out", tmp_path / "x"),
    )
    assert ran.code == 0, ran.err
    rows = {row["precision"]: row for row in json.loads(ran.out)["results"]}
    forms = {name: open_bundle(Path(row["bundle"])).manifest.info.form for name, row in rows.items()}
    assert forms == {"fp32": Form.DENSE, "int8": Form.parse("split/grouped/split/split")}
    assert rows["int8"]["logit_sqnr_db"] > 20 and rows["int8"]["fp32_top1"] == rows["fp32"]["top1"]


def test_a_form_that_is_not_equal_is_never_timed(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unequal(network: object, form: Form) -> None:
        raise ParityError(f"the {form} form is 1.0e-03 away", hint="This is a bug.")

    monkeypatch.setattr("resnest_edge.pipeline.core.check_form", unequal)
    ran = cli(*FP32)
    assert ran.code == 1 and "the split form is 1.0e-03 away" in ran.err and ran.out == ""
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_every_form_and_placement_of_the_demo(cli: CommandLine) -> None:
    ran = cli("tune", "--target", "onnxruntime", "--max-loss", 0.5, "--calib-images", 16, *QUICK, "--json")
    assert ran.code == 0, ran.err
    trials = json.loads(ran.out)["trials"]
    axes = {trial["axis"] for trial in trials}
    assert {"stage 1", "stage 2", "stage 3", "stage 4", "pool", "outputs", "elementwise", "first", "last"} <= axes
    for trial in trials:
        known = trial["axis"] == "all together"
        assert known or trial["sqnr_change_ci95"][0] <= trial["sqnr_change_db"] <= trial["sqnr_change_ci95"][1]
        assert not trial["chosen"] or trial["ratio_ci95"][1] < 0.99


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("resnest51", "--weights", "none"), 2, "resnest51"),
        (("resnest50",), 2, "--weights"),
        (("--precision", "fp16", "--target", "openvino"), 2, "FP16"),
        (("--precision", "fp32", "--max-loss", "1"), 2, "--max-loss is for INT8"),
        (("resnest14d", "--weights", "none", "--max-loss", "1"), 2, "no accuracy to lose"),
        (("--rounds", "5"), 2, "--rounds 6 or more"),
        (("--form", "split/dense"), 2, "is not known"),
        (("--batch", "0"), 2, "--batch"),
        (("--max-loss", "-1"), 2, "--max-loss"),
        (("--images", "missing"), 2, "missing"),
        (("--target", "tensorrt"), 3, "pip install"),
        (("missing.onnx", "--image-size", "32"), 2, "missing"),
    ],
)
def test_wrong_input_gets_its_code_and_leaves_nothing(
    arguments: tuple[str, ...], code: int, words: str, cli: CommandLine, tmp_path: Path
) -> None:
    ran = cli("tune", *arguments)
    assert ran.code == code, ran.err
    assert words in ran.err and "Traceback" not in ran.err and ran.out == ""
    assert not (tmp_path / "cache").exists()


def test_a_form_beside_tuned_is_refused(cli: CommandLine) -> None:
    ran = cli("build", "--tuned", "--form", "split")
    assert ran.code == 2 and "--tuned chooses the form" in ran.err
