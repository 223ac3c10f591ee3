"""Weights files: what they hold, what they fit, and how the wrong ones are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from resnest_edge.errors import CheckpointError, OutputError, UsageError
from resnest_edge.models.checkpoint import (
    load_checkpoint,
    load_state,
    read_checkpoint,
    save_checkpoint,
    untrained_network,
)
from resnest_edge.models.recognise import infer_num_classes, infer_variant
from resnest_edge.models.resnest import ResNeSt
from resnest_edge.models.variants import VARIANTS
from tests.support.weights import TINY, same, tiny, write, write_old

Writer = Callable[[Any, Path], None]


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
        metadata = file.metadata()
    assert json.loads(metadata.pop("resnest_edge.config"))["planes"] == [8, 16, 16, 24]
    assert metadata == {"format": "pt", "dataset": "squares"}
    assert [child.name for child in path.parent.iterdir()] == ["w.safetensors"]
    save_checkpoint(network.half(), path, {})
    assert safetensors.torch.load_file(path)["fc.weight"].dtype == torch.float16


@pytest.mark.parametrize("avd_first", [False, True])
def test_the_saved_shape_says_what_weights_do_not_show(avd_first: bool, tmp_path: Path) -> None:
    small = VARIANTS["resnest14d"]
    path, shape = tmp_path / "w.safetensors", replace(small.config, avd_first=avd_first)
    save_checkpoint(ResNeSt(shape, 2), path, {})
    checkpoint = read_checkpoint(path)
    assert checkpoint.config == checkpoint.shape() == shape
    assert checkpoint.variant() is (None if avd_first else small)
    with pytest.raises(CheckpointError, match="before the split" if avd_first else r"after the split.*resnest14d"):
        load_checkpoint(replace(shape, avd_first=not avd_first), path)
    bare = write(checkpoint.state, tmp_path / "w.pth")  # without the record, who loads them says it
    assert load_checkpoint(replace(shape, avd_first=not avd_first), bare).config.avd_first is not avd_first


@pytest.mark.parametrize(
    "text", ["nonsense", "3", "{}", '{"layers": [1], "planes": [8]}', '{"layers": 1, "planes": 2}']
)
def test_a_recorded_shape_that_is_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"fc.bias": torch.zeros(2)}, path, {"resnest_edge.config": text})
    with pytest.raises(CheckpointError, match="no shape of a ResNeSt"):
        load_state(path)


def test_a_network_that_is_there_is_filled(tmp_path: Path) -> None:
    source, path = tiny(), tmp_path / "w.safetensors"
    save_checkpoint(source, path, {})
    target = tiny().double().train()
    target.fc.bias.data.zero_()
    assert load_checkpoint(target, path) is target
    assert target.training and target.fc.bias.dtype == torch.float64
    assert torch.equal(target.fc.bias, source.fc.bias.double())
    backbone = ResNeSt(TINY, features_only=True, dilation=2).eval()
    load_checkpoint(backbone, path)
    assert same(dict(backbone.state_dict()), {k: v for k, v in source.state_dict().items() if not k.startswith("fc.")})
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(ResNeSt(TINY, 6), path)


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
