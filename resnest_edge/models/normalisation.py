"""What batch norm remembers of the training images: the mean and deviation that each of its channels had."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from resnest_edge.models.inference_form import to_inference_form
from resnest_edge.models.resnest import ResNeSt, SplitAttention
from resnest_edge.spec import Form

Moments = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Mean and standard deviation of each output channel of a layer, before its ReLU."""


@dataclass(frozen=True)
class Remembered:
    """What is left of the training images in a network.

    Attributes:
        layers: by layer of the inference form, the moments of its output channels.
        colour: mean of the normalised pixels, in the network's channel order; None where the stem does not tell.
    """

    layers: dict[str, Moments]
    colour: tuple[float, float, float] | None = None


NOTHING = Remembered({})


def remember(network: ResNeSt, form: Form = Form.SPLIT) -> Remembered:
    """The moments that the folded convolutions' outputs had on the training images, and those images' mean colour.

    Batch norm gives ``γ·(y − μ)/√(σ² + ε) + β``: where y has the running mean μ and variance σ², its output has mean β
    and standard deviation ``|γ|·√(σ²/(σ² + ε))``. Both are carried through the folding in the place of the bias, which
    becomes β where μ is 0, so that every form cuts and names them as it does its layers.

    The mean of a convolution's output is its kernel, summed over positions, times the mean of its input (but for the
    padded edge). Solved for the first convolution, least squares over its channels, that is the mean colour.

    Args:
        network: training form; it is left as it was.
        form: the inference form whose layers are named.

    Returns:
        The layers behind a batch norm; none of a network whose running statistics are as they were made (untrained, or
        written by fine-tuning, which folds them).
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if not any(bool(cast(Tensor, norm.running_mean).any()) for norm in norms):
        return NOTHING
    means = _carried(network, form, lambda norm: norm.bias)
    deviations = _carried(network, form, _deviation)
    return Remembered({name: (means[name], deviations[name]) for name in means}, _colour(network))


def _colour(network: ResNeSt) -> tuple[float, float, float] | None:
    kernel = cast(Tensor, network.conv1[0].weight).detach().double().sum((2, 3)).numpy()
    means = cast(Tensor, network.conv1[1].running_mean).double().numpy()
    found, _, rank, _ = np.linalg.lstsq(kernel, means, rcond=None)
    return (float(found[0]), float(found[1]), float(found[2])) if rank == 3 else None


def _deviation(norm: nn.BatchNorm2d) -> Tensor:
    variance = cast(Tensor, norm.running_var).double()
    return norm.weight.double().abs() * torch.sqrt(variance / (variance + norm.eps))


def _carried(
    network: ResNeSt, form: Form, value: Callable[[nn.BatchNorm2d], Tensor]
) -> dict[str, npt.NDArray[np.float32]]:
    """A value of each batch norm's channels, by the layer of the inference form that it is folded into."""
    carrier = deepcopy(network).float()
    with torch.no_grad():
        for module in carrier.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.copy_(value(module))
                cast(Tensor, module.running_mean).zero_()
            elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                module.bias.zero_()
        for module in carrier.modules():  # layers without batch norm behind them, told by what is no number
            if isinstance(module, SplitAttention):
                cast(Tensor, module.fc2.bias).fill_(torch.nan)
            elif isinstance(module, nn.Linear):
                module.bias.fill_(torch.nan)
        biases = dict(to_inference_form(carrier, form).named_parameters())
    return {
        name.removesuffix(".bias"): bias.detach().numpy()
        for name, bias in biases.items()
        if name.endswith(".bias") and not bool(bias.isnan().any())
    }
