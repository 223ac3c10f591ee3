"""Fine-tuning from checkpoint to checkpoint: what is saved builds, an interrupted run goes on, bad input is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from benchmarks.finetune import harmed
from resnest_edge.calibration.scales import Scales
from resnest_edge.errors import GateError, InputError, OutputError, UsageError
from resnest_edge.graph.model import LOGITS
from resnest_edge.images import Subset
from resnest_edge.pipeline.build import build
from resnest_edge.pipeline.pictures import open_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.spec import Target
from resnest_edge.training.finetune import finetune, measure, prepare, run
from resnest_edge.training.journal import Journal
from resnest_edge.training.train import Recipe, train
from tests.support.calibrated import pictures
from tests.support.cli import CommandLine
from tests.support.onnx_run import run_ort
from tests.support.scenes import write_scenes

QUICK = Recipe(epochs=2, rate=1e-4, batch=10)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("training scenes"), "train", 20)


def request(scenes: Path, out: Path) -> BuildRequest:
    return BuildRequest(
        images=str(scenes), eval_images=str(scenes), targets=(Target.ONNXRUNTIME,), calib_images=10, out=out
    )


def tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping


def test_what_is_saved_builds_and_is_what_was_trained(scenes: Path, tmp_path: Path) -> None:
    found = finetune(request(scenes, tmp_path / "tuned.safetensors"), QUICK)
    assert len(found["losses"]) == 2 and found["losses"][1] < found["losses"][0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tuned.safetensors", "tuned.scales.json"]
    scales = Scales.load(Path(found["scales"]))
    assert scales.method == "finetuned" and not scales.corrections
    (row,) = build(
        BuildRequest(
            weights=found["checkpoint"],
            scales=Path(found["scales"]),
            eval_images=str(scenes),
            targets=(Target.ONNXRUNTIME,),
            choice=replace(BuildRequest().choice, image_size=96, resize="112"),
            out=tmp_path / "engine",
        )
    ).results
    assert row["precision_run"] == "int8" and row["top1"] == pytest.approx(found["after"]["top1"], abs=5.1)


def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(scenes: Path, tmp_path: Path) -> None:
    before, images, _ = prepare(request(scenes, tmp_path / "x.safetensors"), lambda *_: None)
    whole, cut = before.trainable(), before.trainable()
    run(whole, before, images, QUICK, None, lambda *_: None)
    journal = Journal(tmp_path / "state", {"run": 1})

    def stop(stage: str, done: int, total: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(cut, before, images, QUICK, journal, stop)
    again = before.trainable()
    resumed, losses = run(again, before, images, QUICK, journal, lambda *_: None)
    assert resumed == 1 and len(losses) == 2
    for name, value in whole.folded().items():
        assert torch.equal(again.folded()[name], value), name
    with pytest.raises(InputError, match=r"another network.*--force"):
        Journal(tmp_path / "state", {"run": 2}).load(again, torch.optim.Adam(again.parameters()))
    (tmp_path / "state").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not the state"):
        journal.load(again, torch.optim.Adam(again.parameters()))


def test_the_trained_network_computes_the_graph_that_is_built(scenes: Path, tmp_path: Path) -> None:
    before, images, _ = prepare(request(scenes, tmp_path / "x.safetensors"), lambda *_: None)
    student = before.trainable()
    train(student, before.network, Subset(images, range(10)), before.preprocessing, Recipe(1, 1e-3, 10))
    after = before.with_weights(student.folded())
    shots = np.repeat(np.repeat(pictures(4), 4, 2), 4, 3)
    with torch.no_grad():
        answered = student(torch.from_numpy(shots)).numpy()
    (expected,) = run_ort(after.graph(), shots, [LOGITS])
    (unquantized,) = run_ort(after.core, shots, [LOGITS])
    # sums in another order move a few values to the neighbouring step
    assert np.abs(answered - expected).max() <= 0.1 * np.abs(unquantized - expected).max()


def test_what_cannot_be_trained_is_refused(scenes: Path, tmp_path: Path) -> None:
    good = request(scenes, tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match=r"--out FILE\.safetensors"):
        finetune(replace(good, out=tmp_path / "x.pth"), QUICK)
    with pytest.raises(UsageError, match="one target"):
        finetune(replace(good, targets=(Target.ONNXRUNTIME, Target.OPENVINO)), QUICK)
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, path in enumerate(sorted(scenes.rglob("*.png"))[:3]):
        (flat / f"{index}.png").write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match="not labelled"):
        finetune(replace(good, images=str(flat)), QUICK)
    (tmp_path / "x.scales.json").write_text("")
    with pytest.raises(OutputError, match="already exists"):
        finetune(good, QUICK)
    with pytest.raises(UsageError, match="trains nothing"):
        Recipe(rate=0.0)


def test_a_loss_that_is_no_number_stops_the_run(scenes: Path, tmp_path: Path) -> None:
    before, images, _ = prepare(request(scenes, tmp_path / "x.safetensors"), lambda *_: None)
    student = before.trainable()
    with torch.no_grad():
        next(student.parameters()).fill_(torch.nan)
    with pytest.raises(GateError, match="smaller --rate"):
        run(student, before, Subset(images, range(10)), replace(QUICK, epochs=1), None, lambda *_: None)


def test_the_command_says_what_it_wrote_and_what_comes_next(cli: CommandLine, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned.safetensors"
    ran = cli("finetune", "--images", scenes, "--calib-images", 5, "--epochs", 1, "--target", "openvino", "--out", out)
    assert ran.code == 0 and f"checkpoint: {out}" in ran.out
    assert "nothing was measured" in ran.err and f"--weights {out}" in ran.err
    assert cli("finetune", "--images", scenes, "--out", out).code == 2


@pytest.mark.slow
def test_most_of_the_loss_of_a_network_with_three_bit_weights_comes_back() -> None:
    images, held_out = open_pictures("demo:train", 10), open_pictures("demo:test", 10)
    before = harmed("resnest-cardinality2", 3, images)
    student = before.trainable()
    run(student, before, images, Recipe(4, 1e-3), None, lambda *_: None)
    found = measure(before, before.with_weights(student.folded()), held_out, lambda *_: None)
    assert found["before"]["drop"] > 4, "the network is not harmed enough"
    assert found["after"]["drop"] < found["before"]["drop"] / 2
