"""Weights files: what they hold, what they fit, and how the wrong ones are refused."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from resnest_edge.errors import CheckpointError, OutputError, UsageError
from resnest_edge.models.checkpoint import (
    infer_num_classes,
    infer_variant,
    load_checkpoint,
    load_state,
    save_checkpoint,
    untrained_network,
)
from resnest_edge.models.resnest import ResNeSt, ResNeStConfig
from resnest_edge.models.variants import VARIANTS
from tests.support.networks import randomise

TINY = ResNeStConfig((1, 2, 1, 1), stem_width=4, planes=(8, 16, 16, 24))
Writer = Callable[[Any, Path], None]


def tiny(config: ResNeStConfig = TINY, num_classes: int = 5) -> ResNeSt:
    torch.manual_seed(0)
    return randomise(ResNeSt(config, num_classes)).eval()


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def write(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def write_old(content: Any, path: Path) -> None:
    """The format of PyTorch before 1.6, which the authors' files have."""
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("name", "writer"),
    [
        ("weights.safetensors", safetensors.torch.save_file),
        ("weights.pt", torch.save),
        ("weights.pth", write_old),
        ("model_best.pth.tar", torch.save),
    ],
)
def test_every_kind_of_file_gives_back_the_network(name: str, writer: Writer, tmp_path: Path) -> None:
    network, images = tiny(), torch.randn(2, 3, 32, 32)
    writer(network.state_dict(), tmp_path / name)
    loaded = load_checkpoint(TINY, tmp_path / name)
    assert not any(module.training for module in loaded.modules())
    assert same(loaded.state_dict(), network.state_dict())
    # Not equal to the bit: where a file's tensor lies in memory decides which kernel multiplies it.
    torch.testing.assert_close(loaded(images), network(images))
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_training_checkpoints_are_unwrapped(key: str, prefix: str, tmp_path: Path) -> None:
    state = tiny().state_dict()
    wrapped = {"epoch": 3, "arch": "x", "optimizer": {"lr": 0.1}, key: {prefix + name: state[name] for name in state}}
    assert same(load_state(write(wrapped, tmp_path / "w.pth")), dict(state))


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema"])
def test_averaged_weights_are_preferred(key: str, tmp_path: Path) -> None:
    state, average = {"fc.weight": torch.zeros(2, 3)}, {"fc.weight": torch.ones(2, 3)}
    assert same(load_state(write({"state_dict": state, key: average}, tmp_path / "w.pth")), average)
    assert same(load_state(write({"state_dict": state, key: None}, tmp_path / "w.pth")), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_point_becomes_float32_and_counters_stay(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in tiny().state_dict().items()
    }
    loaded = load_state(write(state, tmp_path / "w.pt"))
    assert {value.dtype for value in loaded.values()} == {torch.float32, torch.int64}
    assert all(torch.equal(loaded[name], state[name].to(loaded[name].dtype)) for name in state)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_number_is_named(value: float, tmp_path: Path) -> None:
    state = tiny().state_dict()
    state["layer2.0.bn1.running_var"][3] = value
    with pytest.raises(CheckpointError, match=r"layer2\.0\.bn1\.running_var holds a NaN or an infinity"):
        load_state(write(state, tmp_path / "w.pth"))


def test_float64_beyond_float32_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"fc\.bias"):
        load_state(write({"fc.bias": torch.full((2,), 1e300, dtype=torch.float64)}, tmp_path / "w.pth"))


def test_a_pickle_that_needs_code_is_refused(tmp_path: Path) -> None:
    content = {"state_dict": tiny().state_dict(), "args": argparse.Namespace(lr=0.1)}
    with pytest.raises(CheckpointError, match=r"run code \(argparse\.Namespace\)") as caught:
        load_state(write(content, tmp_path / "w.pth"))
    assert "weights_only=False" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(name: str, keep: float, tmp_path: Path) -> None:
    path = tmp_path / name
    (safetensors.torch.save_file if path.suffix == ".safetensors" else write)(dict(tiny().state_dict()), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        load_state(path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_old_file_is_refused(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    write_old(tiny().state_dict(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CheckpointError):
        load_state(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # torch's, of bytes that begin as a pickle does
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=64), suffix=st.sampled_from([".pth", ".safetensors", ".pth.tar"]))
def test_bytes_of_any_kind_are_refused(data: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        load_state(path)


@pytest.mark.parametrize(
    "content", [[1, 2], {}, 3, {"state_dict": [1]}, {"fc.weight": "text"}, {"state_dict": {"a": 1}}]
)
def test_what_is_no_state_dict_is_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        load_state(write(content, tmp_path / "w.pth"))


@pytest.mark.parametrize("name", ["missing.pth", "folder.pth", "weights.h5"])
def test_no_such_file_or_kind(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "weights.h5").touch()
    with pytest.raises(CheckpointError, match=name):
        load_state(tmp_path / name)


def test_batch_counters_may_be_absent(tmp_path: Path) -> None:
    state = {name: value for name, value in tiny().state_dict().items() if not name.endswith("num_batches_tracked")}
    loaded = load_checkpoint(TINY, write(state, tmp_path / "w.pth"))
    assert torch.equal(loaded(torch.ones(1, 3, 32, 32)), tiny()(torch.ones(1, 3, 32, 32)))


def test_tensors_that_do_not_fit_are_named_and_counted(tmp_path: Path) -> None:
    state = tiny().state_dict()
    state["surplus.weight"] = torch.zeros(1)
    state["fc.bias"] = torch.zeros(6)
    for name in [name for name in state if name.startswith("layer4.0.conv2.bn")]:
        del state[name]
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(TINY, write(state, tmp_path / "w.pth"))
    text = str(caught.value)
    assert "8 missing: layer4.0.conv2.bn0.weight, layer4.0.conv2.bn0.bias, layer4.0.conv2.bn0.running_mean, …" in text
    assert "1 too many: surplus.weight" in text
    assert "1 of another shape: fc.bias is (6,), not (5,)" in text


def test_the_hint_says_what_would_fit(tmp_path: Path) -> None:
    small = VARIANTS["resnest14d"]
    path = tmp_path / "w.safetensors"
    save_checkpoint(ResNeSt(small.config, 2), path, {})
    with pytest.raises(CheckpointError, match=r"They fit resnest14d\.$"):
        load_checkpoint(VARIANTS["resnest26d"].config, path)
    with pytest.raises(CheckpointError, match="leave the variant out"):
        load_checkpoint(small.config, write(tiny().state_dict(), tmp_path / "w.pth"))


def test_a_wrong_number_of_classes_is_an_error(tmp_path: Path) -> None:
    path = write(tiny().state_dict(), tmp_path / "w.pth")
    assert load_checkpoint(TINY, path, num_classes=5).num_classes == 5
    with pytest.raises(CheckpointError, match=r"fc\.weight is \(5, 96\), not \(6, 96\)"):
        load_checkpoint(TINY, path, num_classes=6)


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "w.safetensors"
    network = tiny()
    save_checkpoint(network, path, {"dataset": "squares"})
    assert same(load_checkpoint(TINY, path).state_dict(), network.state_dict())
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "dataset": "squares"}
    assert [child.name for child in path.parent.iterdir()] == ["w.safetensors"]
    save_checkpoint(network.half(), path, {})
    assert safetensors.torch.load_file(path)["fc.weight"].dtype == torch.float16


def test_saved_as_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="safetensors"):
        save_checkpoint(tiny(), tmp_path / "w.pth", {})
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        save_checkpoint(tiny(), tmp_path / "file" / "w.safetensors", {})


@pytest.mark.parametrize("name", ["resnest14d", "resnest50_fast_4s2x40d"])
def test_an_untrained_network_keeps_its_range(name: str) -> None:
    """However deep, since float16 and INT8 ranges have to bear it; and the same network every time."""
    config = VARIANTS[name].config
    deep = replace(config, layers=(4, 8, 16, 4), bottleneck_width=64, planes=(16, 32, 64, 128))
    before = torch.random.get_rng_state()
    network = untrained_network(deep, 50)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same(network.state_dict(), untrained_network(deep, 50).state_dict())
    assert not network.training
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features = network.forward_features(images)
        logits = network(images)
    assert all(0.3 < float(feature.std()) < 5 for feature in features)
    assert 0.1 < float(logits.std()) < 5
    assert not torch.equal(logits[0], logits[1])


def test_a_trained_checkpoint(data_dir: Path) -> None:
    path = data_dir / "weights" / "resnest50d-imagenette.safetensors"
    if not path.is_file():
        pytest.skip(f"no trained ResNeSt here: {path}")
    state = load_state(path)
    assert infer_variant(state) is VARIANTS["resnest50"]
    assert infer_num_classes(state) == 10
    network = load_checkpoint(VARIANTS["resnest50"].config, path)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    with torch.no_grad():
        logits = network(torch.zeros(1, 3, 64, 64))
    assert logits.shape == (1, 10) and bool(torch.isfinite(logits).all())
