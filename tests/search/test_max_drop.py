"""The bound on the drop: the fewest layers in float, and a network that was broken on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from resnest_edge.bundle import open_bundle
from resnest_edge.demo.model import weights_path
from resnest_edge.errors import GateError, UsageError
from resnest_edge.pipeline.build import build
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.search.max_drop import HoldDrop, fewest
from resnest_edge.spec import Target

pytest.importorskip("onnxruntime", reason="builds and runs engines")


@given(st.integers(1, 200), st.data())
def test_the_fewest_layers_that_hold_are_found_in_few_trials(total: int, data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, total))
    tried: list[int] = []

    def attempt(count: int) -> tuple[str, bool]:
        tried.append(count)
        return f"made {count}", count >= needed

    assert fewest(total, attempt) == (needed, f"made {needed}")
    assert len(set(tried)) == len(tried) <= 2 * total.bit_length() + 1


@given(st.integers(1, 200))
def test_what_never_holds_says_so(total: int) -> None:
    assert fewest(total, lambda count: (count, False)) == (total, None)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo network with one stem channel 4,000 times as large and read 4,000 times as weakly: the same answers."""
    tensors = load_file(weights_path())
    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    for name in ("conv1.1.weight", "conv1.1.bias"):
        tensors[name][3] *= 4000
    tensors["conv1.3.weight"][:, 3] /= 4000
    path = tmp_path_factory.mktemp("broken") / "resnest-demo.safetensors"
    save_file(tensors, path)
    return path


def request(out: Path) -> BuildRequest:
    return BuildRequest(
        targets=(Target.OPENVINO,),
        images="demo:train",
        eval_images="demo:test",
        calib_images=32,
        method="max",
        out=out,
    )


def test_a_network_broken_on_purpose_is_held_by_giving_layers_back(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resnest_edge.demo.model.weights_path", lambda: broken)
    report = build(request(tmp_path / "held"), settle=HoldDrop(0.5))
    (row,) = report.results
    held = row["max_drop"]
    first, last = held["trace"][0], held["trace"][-1]
    assert first["kept"] == 0 and first["drop"] > 5 and not first["holds"], "the network is not broken enough"
    assert any(trial["holds"] for trial in held["trace"]) and last["kept"] >= 1
    assert row["drop"] <= 0.5
    manifest = open_bundle(tmp_path / "held").manifest
    kept = {layer for layer, precision in manifest.layers.items() if precision != "int8"}
    assert kept == set(held["kept"]) and "stem.conv2" in kept and len(kept) < len(manifest.layers) / 2
    assert manifest.calibration is not None and manifest.calibration["max_drop"]["bound"] == 0.5


@pytest.mark.slow  # every layer is given back, a trial at a time
def test_a_bound_that_cannot_hold_ends_with_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"cannot be held: with every layer in float it is 0\.00"):
        build(request(tmp_path / "none"), settle=HoldDrop(0.0, confident=True))
    assert list(tmp_path.iterdir()) == []


def test_without_labels_there_is_nothing_to_hold(tmp_path: Path) -> None:
    unlabelled = BuildRequest(images="demo:train", calib_images=2000, out=tmp_path / "none")
    with pytest.raises(UsageError, match="--max-drop needs labelled images"):
        HoldDrop(0.5)(None, type("Maker", (), {"reference": None, "request": unlabelled})())  # type: ignore[arg-type]
