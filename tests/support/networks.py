"""Networks for tests: weights that hide no mistake."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

torch.set_num_threads(1)  # on layers of a few channels, handing out work costs more than the work

Network = TypeVar("Network", bound=nn.Module)


def randomise(network: Network, seed: int = 0) -> Network:
    """Give every batch norm its own statistics and scales, in place: fresh ones (γ = σ = 1) hide mistakes."""
    generator = torch.Generator().manual_seed(seed)

    def draw(like: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return torch.rand(like.shape, generator=generator, dtype=torch.float64) * (high - low) + low

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.copy_(draw(module.running_mean, -0.3, 0.3))
                module.running_var.copy_(draw(module.running_var, 0.5, 2.0))
                module.weight.copy_(draw(module.weight, 0.5, 1.5))
                module.bias.copy_(draw(module.bias, -0.3, 0.3))
    return network
