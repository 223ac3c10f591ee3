"""Folded weights written back into a checkpoint fold to the same weights, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnest_edge.errors import UsageError
from resnest_edge.models.checkpoint import load_checkpoint, save_checkpoint
from resnest_edge.models.config import ResNeStConfig
from resnest_edge.models.inference_form import to_inference_form
from resnest_edge.models.resnest import ResNeSt
from resnest_edge.models.training_form import to_training_form
from resnest_edge.spec import Form
from tests.support.networks import randomise


def network(radix: int = 2, cardinality: int = 1, seed: int = 0) -> ResNeSt:
    torch.manual_seed(seed)
    config = ResNeStConfig((1, 2, 1, 1), radix=radix, cardinality=cardinality, stem_width=8, planes=(16, 16, 16, 16))
    return randomise(ResNeSt(config, 5), seed).eval()


def trained(model: ResNeSt, form: Form, seed: int) -> dict[str, torch.Tensor]:
    """The weights of its inference form, each moved by a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    state = to_inference_form(model, form).state_dict()
    return {name: value + 0.1 * torch.randn(value.shape, generator=generator) for name, value in state.items()}


@settings(max_examples=12)
@given(
    st.sampled_from([0, 1, 2, 4]),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([Form.SPLIT, Form.GROUPED]),
    st.integers(0, 99),
)
def test_the_way_back_is_exact(radix: int, cardinality: int, form: Form, seed: int) -> None:
    model = network(radix, cardinality, seed)
    moved = trained(model, form, seed)
    found = to_inference_form(to_training_form(model, moved), form).state_dict()
    assert set(found) == set(moved)
    for name, value in moved.items():
        assert torch.equal(found[name], value), name


def test_the_answers_are_the_trained_ones_and_the_network_given_stays(tmp_path: Path) -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    moved = trained(model, Form.SPLIT, 1)
    inference = to_inference_form(model)
    inference.load_state_dict(moved)
    back = to_training_form(model, moved)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(back(images), inference(images), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    save_checkpoint(back, tmp_path / "back.safetensors", {})
    again = load_checkpoint(model.config, tmp_path / "back.safetensors")
    assert all(torch.equal(value, moved[name]) for name, value in to_inference_form(again).state_dict().items())


def test_the_dense_form_and_other_weights_are_refused() -> None:
    model = network()
    with pytest.raises(UsageError, match="split or grouped form"):
        to_training_form(model, trained(model, Form.DENSE, 0))
    moved = trained(model, Form.SPLIT, 0)
    with pytest.raises(UsageError, match="other is no weight"):
        to_training_form(model, {**moved, "other": torch.zeros(1)})
    del moved["layer1.0.conv3.weight"]
    with pytest.raises(UsageError, match=r"layer1\.0\.conv3\.weight is missing"):
        to_training_form(model, moved)
