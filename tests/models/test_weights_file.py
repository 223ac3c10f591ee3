"""Weights files of many kinds, and how what is none is refused."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnest_edge.errors import CheckpointError
from resnest_edge.models.checkpoint import load_state, read_checkpoint
from tests.support.weights import same, tiny, write, write_old


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_training_checkpoints_are_unwrapped(key: str, prefix: str, tmp_path: Path) -> None:
    state = tiny().state_dict()
    wrapped = {"epoch": 3, "arch": "x", "optimizer": {"lr": 0.1}, key: {prefix + name: state[name] for name in state}}
    checkpoint = read_checkpoint(write(wrapped, tmp_path / "w.pth"))
    assert same(checkpoint.state, dict(state))
    assert checkpoint.entry == key


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema"])
def test_averaged_weights_are_preferred(key: str, tmp_path: Path) -> None:
    state, average = {"fc.weight": torch.zeros(2, 3)}, {"fc.weight": torch.ones(2, 3)}
    path = write({"state_dict": state, key: average}, tmp_path / "w.pth")
    assert same(load_state(path), average)
    last = read_checkpoint(path, prefer_ema=False)
    assert same(last.state, state) and last.entry == "state_dict"
    for nothing in (None, {"decay": 0.99, "updates": 7}):
        assert same(load_state(write({"state_dict": state, key: nothing}, tmp_path / "w.pth")), state)
    only = read_checkpoint(write({key: average}, tmp_path / "w.pth"), prefer_ema=False)
    assert same(only.state, average) and only.entry == key


def test_averages_with_a_count(tmp_path: Path) -> None:
    """What torch.optim.swa_utils.AveragedModel saves, and what wraps its average once more."""
    average = torch.optim.swa_utils.AveragedModel(tiny())
    averaged, plain = dict(average.state_dict()), dict(tiny().state_dict())
    assert same(load_state(write(averaged, tmp_path / "w.pth")), plain)
    wrapped = read_checkpoint(write({"ema": {"decay": 0.9, "module": plain}}, tmp_path / "w.pth"))
    assert same(wrapped.state, plain) and wrapped.entry == "ema.module"


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"two tensors for fc\.bias"):
        load_state(write({"fc.bias": torch.zeros(1), "module.fc.bias": torch.ones(1)}, tmp_path / "w.pth"))


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64])
def test_weights_of_other_number_formats_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    state = dict(tiny().state_dict())
    state["fc.weight"] = state["fc.weight"].to(dtype)
    with pytest.raises(CheckpointError, match=r"fc\.weight is torch\.\w+, not floating point"):
        load_state(write(state, tmp_path / "w.pth"))


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
    content = {"state_dict": tiny().state_dict(), "folder": Path("here")}
    with pytest.raises(CheckpointError, match=r"run code \(pathlib\.") as caught:
        load_state(write(content, tmp_path / "w.pth"))
    assert "weights_only=False" in str(caught.value.hint)


def test_a_training_checkpoint_of_timm_is_read(tmp_path: Path) -> None:
    """Its arguments are an argparse.Namespace, which is let through for this one read."""
    state, average = dict(tiny().state_dict()), dict(tiny(num_classes=5).state_dict())
    average["fc.bias"] = average["fc.bias"] + 1
    arguments = argparse.Namespace(model="resnest50d", opt_kwargs={}, lr=0.1, crop_pct=None)
    content = {"epoch": 7, "arch": "resnest50d", "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}
    path = write(
        {**content, "version": 2, "args": arguments, "state_dict_ema": average, "metric": 81.0}, tmp_path / "w.pth.tar"
    )
    assert same(load_state(path), average)
    assert same(load_state(path, prefer_ema=False), state)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


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
