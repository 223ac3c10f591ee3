"""ResNeSt in training form: the network of the paper, with the authors' parameter names.

The state dict has the same keys and shapes as the authors' ``resnest`` package (and as timm's ResNeSt), so
weights load in either direction without renaming. Source: arXiv 2004.08955 and github.com/zhanghang1989/ResNeSt.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnest_edge.errors import UsageError
from resnest_edge.models.config import ATTENTION_REDUCTION, EXPANSION, MIN_ATTENTION_CHANNELS, ResNeStConfig

__all__ = ["Bottleneck", "RadixSoftmax", "ResNeSt", "ResNeStConfig", "SplitAttention"]


class RadixSoftmax(nn.Module):
    """Softmax over the radix splits of each cardinal group; a sigmoid when radix is 1.

    Takes (N, cardinality · radix · c, 1, 1) in cardinal-major order, gives (N, radix · cardinality · c, 1, 1)
    in radix-major order, as the convolution's output is.
    """

    def __init__(self, radix: int, cardinality: int) -> None:
        super().__init__()
        self.radix = radix
        self.cardinality = cardinality

    def forward(self, logits: Tensor) -> Tensor:
        if self.radix == 1:
            return torch.sigmoid(logits)
        split = logits.view(logits.size(0), self.cardinality, self.radix, -1).transpose(1, 2)
        return F.softmax(split, dim=1).reshape(logits.size(0), -1, 1, 1)


class SplitAttention(nn.Module):
    """Split-attention convolution (paper, section 3.1 and appendix): (N, C, H, W) to (N, C, H, W).

    Args:
        channels: input and output channels.
        radix: splits; at least 1.
        cardinality: cardinal groups.
        dilation: of the 3×3 convolution.
        stride: of the 3×3 convolution; 1 wherever an average pool carries the stride.
    """

    def __init__(self, channels: int, radix: int, cardinality: int, *, dilation: int = 1, stride: int = 1) -> None:
        super().__init__()
        inner = max(channels * radix // ATTENTION_REDUCTION, MIN_ATTENTION_CHANNELS)
        if inner % cardinality or channels % (cardinality * radix):
            raise UsageError(
                f"{channels} channels and {inner} attention channels do not split into {cardinality} × {radix} groups"
            )
        self.radix = radix
        self.cardinality = cardinality
        self.conv = nn.Conv2d(
            channels,
            channels * radix,
            3,
            stride=stride,
            padding=dilation,
            dilation=dilation,
            groups=cardinality * radix,
            bias=False,
        )
        self.bn0 = nn.BatchNorm2d(channels * radix)
        self.relu = nn.ReLU(inplace=True)
        self.fc1 = nn.Conv2d(channels, inner, 1, groups=cardinality)
        self.bn1 = nn.BatchNorm2d(inner)
        self.fc2 = nn.Conv2d(inner, channels * radix, 1, groups=cardinality)
        self.rsoftmax = RadixSoftmax(radix, cardinality)

    def forward(self, x: Tensor) -> Tensor:
        splits = self.relu(self.bn0(self.conv(x))).chunk(self.radix, dim=1)
        pooled = torch.stack(splits).sum(0).mean((2, 3), keepdim=True)
        attention = self.fc2(self.relu(self.bn1(self.fc1(pooled))))
        gates = self.rsoftmax(attention).chunk(self.radix, dim=1)
        out: Tensor = gates[0] * splits[0]
        for gate, split in zip(gates[1:], splits[1:], strict=True):
            out = out + gate * split
        return out


class Bottleneck(nn.Module):
    """Residual block: 1×1, split attention (or a grouped 3×3 at radix 0), 1×1, plus the shortcut.

    The stride of a strided block stands in a 3×3 average pool, never in the convolution (paper, section 3.2).
    """

    def __init__(
        self,
        inplanes: int,
        planes: int,
        config: ResNeStConfig,
        *,
        stride: int = 1,
        dilation: int = 1,
        pool: bool = False,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        width = config.group_width(planes)
        self.conv1 = nn.Conv2d(inplanes, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2: nn.Module
        if config.radix >= 1:
            self.conv2 = SplitAttention(width, config.radix, config.cardinality, dilation=dilation)
        else:
            self.conv2 = nn.Conv2d(
                width, width, 3, padding=dilation, dilation=dilation, groups=config.cardinality, bias=False
            )
            self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, planes * EXPANSION, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * EXPANSION)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.avd_layer = nn.AvgPool2d(3, stride, padding=1) if pool else None
        self.avd_first = config.avd_first
        self.radix = config.radix

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        if self.avd_layer is not None and self.avd_first:
            out = self.avd_layer(out)
        out = self.conv2(out)
        if self.radix == 0:
            out = self.relu(self.bn2(out))
        if self.avd_layer is not None and not self.avd_first:
            out = self.avd_layer(out)
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(out + shortcut)


class ResNeSt(nn.Module):
    """A ResNeSt classifier, or a feature extractor.

    Args:
        config: the network's shape.
        num_classes: outputs of the classifier.
        dilation: 1 (output stride 32), 2 (16) or 4 (8), for dense prediction.
        features_only: return the four stage outputs [C2, C3, C4, C5] and have no classifier.
    """

    def __init__(
        self, config: ResNeStConfig, num_classes: int = 1000, *, dilation: int = 1, features_only: bool = False
    ) -> None:
        super().__init__()
        if dilation not in (1, 2, 4):
            raise UsageError(f"dilation {dilation} is not one of 1, 2, 4")
        if num_classes < 1:
            raise UsageError(f"{num_classes} classes make no classifier")
        self.config = config
        self.num_classes = num_classes
        self.features_only = features_only
        width = config.stem_width
        self.conv1 = _deep_stem(width)
        self.bn1 = nn.BatchNorm2d(width * 2)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inplanes = width * 2
        for number, (stride, first, rest) in enumerate(_STAGE_DILATIONS[dilation]):
            setattr(self, f"layer{number + 1}", _stage(config, number, inplanes, stride, first, rest))
            inplanes = config.planes[number] * EXPANSION
        if not features_only:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Linear(inplanes, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))

    def stages(self) -> list[nn.Sequential]:
        """The four stages, in order."""
        return [getattr(self, f"layer{number}") for number in (1, 2, 3, 4)]

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Stage outputs C2 to C5 of a normalised NCHW batch."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        features = []
        for stage in self.stages():
            x = stage(x)
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits (N, num_classes) of a normalised NCHW batch, or [C2, C3, C4, C5]."""
        features = self.forward_features(x)
        if self.features_only:
            return features
        logits: Tensor = self.fc(torch.flatten(self.avgpool(features[-1]), 1))
        return logits


_STAGE_DILATIONS: dict[int, tuple[tuple[int, int, int], ...]] = {
    # per stage: stride, dilation of the first block, dilation of the others (the authors' resnet.py)
    1: ((1, 1, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1)),
    2: ((1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 2)),
    4: ((1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4)),
}


def _deep_stem(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width * 2, 3, padding=1, bias=False),
    )


def _stage(config: ResNeStConfig, number: int, inplanes: int, stride: int, first: int, rest: int) -> nn.Sequential:
    planes = config.planes[number]
    outplanes = planes * EXPANSION
    downsample = None
    if stride != 1 or inplanes != outplanes:
        pool = stride if rest == 1 else 1
        downsample = nn.Sequential(
            nn.AvgPool2d(pool, pool, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(inplanes, outplanes, 1, bias=False),
            nn.BatchNorm2d(outplanes),
        )
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    # The first block of stages 2 to 4 pools even at stride 1 (dilated networks): the authors' ``is_first``.
    blocks["0"] = Bottleneck(
        inplanes, planes, config, stride=stride, dilation=first, pool=number > 0, downsample=downsample
    )
    for index in range(1, config.layers[number]):
        blocks[str(index)] = Bottleneck(outplanes, planes, config, dilation=rest)
    return nn.Sequential(blocks)
