"""An EfficientNet-B4 of our own to measure beside a ResNeSt: arXiv 1905.11946, table 1 scaled by 1.4 and 1.8.

Random weights are enough for speed. Padding is symmetric, as PyTorch's own EfficientNets have it; the paper's network
pads a pixel less on one side, which no figure here depends on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

IMAGE_SIZE = 380
"""Side of B4's input, pixels."""

_WIDTH, _DEPTH, _DROPOUT = 1.4, 1.8, 0.4
_BLOCKS = (  # expansion, channels, blocks, stride, kernel: B0's stages 2 to 8
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def scaled_width(channels: int) -> int:
    """Channels times 1.4, at the nearest multiple of 8 that loses no more than a tenth."""
    wanted = channels * _WIDTH
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


class _Convolution(nn.Sequential):
    """Convolution, batch norm and, unless it is linear, SiLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, linear: bool = False
    ) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs, eps=1e-3), nn.Identity() if linear else nn.SiLU())


class _Squeeze(nn.Module):
    """Squeeze and excitation: a gate for each channel from the means of all."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.silu(self.reduce(nn.functional.adaptive_avg_pool2d(x, 1)))
        return x * torch.sigmoid(self.expand(hidden))


class _Block(nn.Module):
    """Inverted bottleneck with a depthwise convolution; a shortcut where nothing changes."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_Convolution(inputs, inner, 1)]
        layers += [
            _Convolution(inner, inner, kernel, stride, groups=inner),
            _Squeeze(inner, max(1, inputs // 4)),
            _Convolution(inner, outputs, 1, linear=True),
        ]
        self.body = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out + x if self.shortcut else out


class EfficientNetB4(nn.Module):
    """The network; (N, 3, S, S) normalised pictures to (N, classes) logits."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        inputs = scaled_width(32)
        layers: list[nn.Module] = [_Convolution(3, inputs, 3, 2)]
        for expansion, channels, count, stride, kernel in _BLOCKS:
            outputs = scaled_width(channels)
            for index in range(math.ceil(_DEPTH * count)):
                layers.append(_Block(inputs, outputs, expansion, kernel, stride if index == 0 else 1))
                inputs = outputs
        head = scaled_width(1280)
        self.features = nn.Sequential(*layers, _Convolution(inputs, head, 1))
        self.dropout = nn.Dropout(_DROPOUT)
        self.fc = nn.Linear(head, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.flatten(nn.functional.adaptive_avg_pool2d(self.features(x), 1), 1)
        logits: Tensor = self.fc(self.dropout(pooled))
        return logits


def random_network(seed: int = 0) -> EfficientNetB4:
    """A network of random weights that keeps its activations' variance, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EfficientNetB4()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in")
    return network.eval()


@dataclass(frozen=True)
class Count:
    """Weights and biases, and multiply-accumulates of convolutions and fully connected layers for one image."""

    parameters: int
    macs: int


def count(network: nn.Module, image_size: int) -> Count:
    """Count by running the network on PyTorch's meta device, which computes shapes alone."""
    macs = 0

    def add(module: nn.Module, _: tuple[Tensor, ...], made: Tensor) -> None:
        nonlocal macs
        weight = module.weight
        assert isinstance(weight, Tensor)
        macs += weight.numel() * math.prod(made.shape[2:])

    network = network.to("meta")
    handles = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    network(torch.empty(1, 3, image_size, image_size, device="meta"))
    for handle in handles:
        handle.remove()
    return Count(sum(parameter.numel() for parameter in network.parameters()), macs)
