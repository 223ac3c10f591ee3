"""What batch norm remembers: the moments that inference-form layers have on the images it was trained on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnest_edge.models.config import ResNeStConfig
from resnest_edge.models.inference_form import to_inference_form
from resnest_edge.models.normalisation import NOTHING, remember
from resnest_edge.models.resnest import ResNeSt
from resnest_edge.models.training_form import to_training_form
from resnest_edge.spec import Form
from tests.support.networks import randomise

KINDS: dict[str, tuple[dict[str, int], Form]] = {
    "plain": ({"radix": 0}, Form.SPLIT),
    "radix 1": ({"radix": 1}, Form.SPLIT),
    "split": ({"radix": 2}, Form.SPLIT),
    "grouped": ({"radix": 2}, Form.GROUPED),
    "dense": ({"radix": 2, "cardinality": 2}, Form.DENSE),
    "radix 4": ({"radix": 4, "cardinality": 2}, Form.SPLIT),
}
IMAGES = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def tiny(radix: int, cardinality: int = 1) -> ResNeSt:
    config = ResNeStConfig((1, 1, 1, 1), stem_width=8, planes=(16, 16, 16, 16), radix=radix, cardinality=cardinality)
    return randomise(ResNeSt(config, 5)).eval()


def take_in(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Give a batch norm the statistics of what it is about to read, as endless training on these images would."""
    assert isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None
    module.running_mean.copy_(inputs[0].mean((0, 2, 3)))
    module.running_var.copy_(inputs[0].var((0, 2, 3), unbiased=False))


@torch.no_grad()
def trained_on(network: ResNeSt, images: Tensor) -> ResNeSt:
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(take_in) for norm in norms]
    network(images)
    for hook in hooks:
        hook.remove()
    return network


@torch.no_grad()
def observed(module: nn.Module, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and deviation of every convolution's output channels."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda _, __, out, name=name: found.update({name: (out.mean((0, 2, 3)), out.std((0, 2, 3), False))})
            )
    module(images)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_the_moments_on_the_images_of_the_training(kind: str) -> None:
    blocks, form = KINDS[kind]
    network = trained_on(tiny(**blocks), IMAGES)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    remembered, seen = remember(network, form).layers, observed(to_inference_form(network, form), IMAGES)
    assert set(remembered) == {name for name in seen if "fc2" not in name}, "every layer behind a batch norm"
    for name, (mean, deviation) in remembered.items():
        scale = float(seen[name][1].max())
        torch.testing.assert_close(torch.from_numpy(mean), seen[name][0], atol=1e-4 * scale, rtol=0, msg=name)
        torch.testing.assert_close(torch.from_numpy(deviation), seen[name][1], atol=1e-3 * scale, rtol=0, msg=name)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_other_images_have_other_moments() -> None:
    network = trained_on(tiny(radix=2), IMAGES)
    mean, deviation = remember(network).layers["stem.conv1"]
    seen = observed(to_inference_form(network), IMAGES - 2)["stem.conv1"][0].numpy()
    assert (abs(seen - mean) / deviation).max() > 0.5


def test_a_network_that_was_not_trained_remembers_nothing() -> None:
    config = ResNeStConfig((1, 1, 1, 1), stem_width=8, planes=(16, 16, 16, 16))
    assert remember(ResNeSt(config, 5).eval()) is NOTHING


def test_nor_does_one_whose_statistics_were_folded_away() -> None:
    network = trained_on(tiny(radix=2), IMAGES)
    folded = to_inference_form(network).state_dict()
    assert remember(to_training_form(network, folded)) is NOTHING


def test_the_mean_colour_of_the_training_is_solved_from_the_first_layer() -> None:
    colour = torch.tensor([0.4, -0.1, -0.7])
    images = colour.reshape(1, 3, 1, 1) + 0.1 * torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    found = remember(trained_on(tiny(radix=2), images)).colour
    assert found is not None
    torch.testing.assert_close(torch.tensor(found), colour, atol=0.02, rtol=0)  # the padded edge is 1 row in 128
