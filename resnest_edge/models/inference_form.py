"""The exactly equal inference form of a ResNeSt: folded batch norms and split-attention blocks that fuse.

With R = radix, K = cardinality and BN(y) = γ·(y − μ)/√(σ² + ε) + β:

- ``W' = W·γ/√(σ² + ε)``, ``b' = β − μ·γ/√(σ² + ε)`` folds each batch norm into the convolution before it.
- The 3×3 convolution with K·R groups is R convolutions of K groups: split r reads channels r·C/R to (r+1)·C/R,
  so the 1×1 convolution before it is cut the same way and no slice is copied (``split``).
- Softmax over two logits is a sigmoid of their difference, and the difference folds into the second fully
  connected layer: ``softmax(z₀, z₁)₀ = σ((W₀ − W₁)·h + b₀ − b₁)``, which halves it. Then
  ``g·s₀ + (1 − g)·s₁ = s₁ + g·(s₀ − s₁)``.
- The mean of a sum is the sum of the means, so each split is pooled by itself: no map is added to another before the
  gate is known, and a split that is in INT8 stays so.
- For R > 2 the softmax is written on R tensors, ``gᵣ = exp(zᵣ − m)/Σⱼ exp(zⱼ − m)``, ``m = max zⱼ``: no 5-D
  reshape.
- An average pool P behind the split attention is linear and works on each channel by itself, and a gate is one number a
  channel, so ``P(Σ gᵣ·sᵣ) = Σ gᵣ·P(sᵣ)``, padding included (``+early-pool``). The gate's own means are of the sᵣ as
  they were: those of P(sᵣ) differ at the border.

Forms that are equal to each other (which is fastest belongs to the target, stage by stage): ``split``,
``split-dense`` (each split's K groups as one), ``grouped`` (one convolution of K·R groups) and ``dense`` (one
convolution of one group). Joined groups have a block-diagonal weight. Source: arXiv 2004.08955, section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnest_edge.forms import Form, StageForm
from resnest_edge.models.resnest import Bottleneck, ResNeSt, SplitAttention


class GatedSplits(nn.Module):
    """The attention of one block: R maps (N, C, H, W) and their gate, to one map (N, C, H, W), pooled where asked."""

    def __init__(self, fc1: nn.Conv2d, fc2: Sequence[nn.Conv2d], radix: int) -> None:
        super().__init__()
        self.radix = radix
        self.fc1 = fc1
        self.fc2 = fc2[0] if len(fc2) == 1 else nn.ModuleList(fc2)

    def forward(self, splits: Sequence[Tensor], pool: nn.Module | None = None) -> Tensor:
        pooled = [F.adaptive_avg_pool2d(split, 1) for split in splits]
        total = pooled[0]
        for mean in pooled[1:]:
            total = total + mean
        hidden = F.relu(self.fc1(total))
        if pool is not None:
            splits = [pool(split) for split in splits]
        if self.radix <= 2:
            gate = torch.sigmoid(self.fc2(hidden))
            return gate * splits[0] if self.radix == 1 else splits[1] + gate * (splits[0] - splits[1])
        return self._blend(splits, [fc2(hidden) for fc2 in cast(nn.ModuleList, self.fc2)])

    @staticmethod
    def _blend(splits: Sequence[Tensor], logits: Sequence[Tensor]) -> Tensor:
        largest = logits[0]
        for logit in logits[1:]:
            largest = torch.maximum(largest, logit)
        weights = [torch.exp(logit - largest) for logit in logits]
        norm = weights[0]
        for weight in weights[1:]:
            norm = norm + weight
        out = (weights[0] / norm) * splits[0]
        for weight, split in zip(weights[1:], splits[1:], strict=True):
            out = out + (weight / norm) * split
        return out


class InferenceSplitAttention(nn.Module):
    """Split attention with its convolution in one of the equal forms, and the pool that its splits take early."""

    def __init__(self, conv: Sequence[nn.Conv2d], attention: GatedSplits) -> None:
        super().__init__()
        self.conv = conv[0] if len(conv) == 1 else nn.ModuleList(conv)
        self.attention = attention
        self.pool: nn.Module | None = None

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        if isinstance(self.conv, nn.ModuleList):
            splits = [F.relu(conv(x)) for conv, x in zip(self.conv, inputs, strict=True)]
        else:
            splits = list(F.relu(self.conv(inputs[0])).chunk(self.attention.radix, dim=1))
        return cast(Tensor, self.attention(splits, self.pool))


class InferenceBottleneck(nn.Module):
    """One residual block in inference form; ``conv1`` is cut like the convolution it feeds."""

    def __init__(
        self,
        conv1: Sequence[nn.Conv2d],
        body: nn.Module,
        conv3: nn.Conv2d,
        block: Bottleneck,
        *,
        early_pool: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = conv1[0] if len(conv1) == 1 else nn.ModuleList(conv1)
        if isinstance(body, InferenceSplitAttention):
            self.split_attention = body
        else:
            self.conv2 = body
        self.conv3 = conv3
        pool = deepcopy(block.avd_layer)
        self.pool_first = pool if block.avd_first else None
        self.pool_last = None if block.avd_first else pool
        if early_pool and _halves(self.pool_last) and isinstance(body, InferenceSplitAttention):
            body.pool, self.pool_last = self.pool_last, None
        self.downsample = None if block.downsample is None else _fold_downsample(block.downsample)

    def forward(self, x: Tensor) -> Tensor:
        convs = self.conv1 if isinstance(self.conv1, nn.ModuleList) else [self.conv1]
        inputs = [F.relu(conv(x)) for conv in convs]
        if self.pool_first is not None:
            inputs = [self.pool_first(y) for y in inputs]
        out = self.split_attention(inputs) if hasattr(self, "split_attention") else F.relu(self.conv2(inputs[0]))
        if self.pool_last is not None:
            out = self.pool_last(out)
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv3(out) + shortcut)


class InferenceResNeSt(nn.Module):
    """A ResNeSt in inference form: the same logits (or C2 to C5) as the training form in evaluation mode."""

    def __init__(self, model: ResNeSt, form: Form) -> None:
        super().__init__()
        stem = model.conv1
        folded = [_fold(stem[0], stem[1]), _fold(stem[3], stem[4]), _fold(stem[6], model.bn1)]
        self.stem = nn.ModuleDict({f"conv{index + 1}": conv for index, conv in enumerate(folded)})
        self.maxpool = deepcopy(model.maxpool)
        for number, stage in enumerate(model.stages()):
            blocks = [_fold_block(cast(Bottleneck, block), form.stages[number], form.early_pool) for block in stage]
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
        self.features_only = model.features_only
        if not model.features_only:
            self.fc = _copy_linear(model.fc)
        self.eval()

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Logits (N, num_classes) of a normalised NCHW batch, or [C2, C3, C4, C5]."""
        for conv in self.stem.values():
            x = F.relu(conv(x))
        x = self.maxpool(x)
        features = []
        for number in (1, 2, 3, 4):
            x = getattr(self, f"layer{number}")(x)
            features.append(x)
        if self.features_only:
            return features
        return cast(Tensor, self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)))


def to_inference_form(model: ResNeSt, form: Form = Form.SPLIT) -> InferenceResNeSt:
    """Rewrite a network into its equal inference form; ``model`` is left as it was.

    Args:
        model: training form, in any mode; its running statistics are used.
        form: which of the equal forms the split-attention convolutions of each stage take.

    Returns:
        A module in evaluation mode with layers of its own, in the dtype of ``model``.
    """
    with torch.no_grad():
        return InferenceResNeSt(model, form)


def _fold_block(block: Bottleneck, form: StageForm, early_pool: bool) -> InferenceBottleneck:
    conv1 = _fold(block.conv1, block.bn1)
    conv3 = _fold(block.conv3, block.bn3)
    if not isinstance(block.conv2, SplitAttention):
        return InferenceBottleneck([conv1], _fold(cast(nn.Conv2d, block.conv2), block.bn2), conv3, block)
    attention = block.conv2
    conv = _fold(attention.conv, attention.bn0)
    gated = GatedSplits(_fold(attention.fc1, attention.bn1), _gate_layers(attention), attention.radix)
    cut = form in (StageForm.SPLIT, StageForm.SPLIT_DENSE) and attention.radix > 1
    convs = _cut_groups(conv, attention.radix) if cut else [conv]
    if form in (StageForm.SPLIT_DENSE, StageForm.DENSE):
        convs = [_densify(part) for part in convs]
    conv1s = _cut_outputs(conv1, attention.radix) if cut else [conv1]
    return InferenceBottleneck(conv1s, InferenceSplitAttention(convs, gated), conv3, block, early_pool=early_pool)


def _halves(pool: nn.Module | None) -> bool:
    """Whether a pool strides; one that does not would be R times the work and spare nothing."""
    return isinstance(pool, nn.AvgPool2d) and pool.stride not in (1, (1, 1))


def _fold(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """``W' = W·γ/√(σ² + ε)``, ``b' = β + (b − μ)·γ/√(σ² + ε)``, computed in float64."""
    conv, norm = cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm)
    mean, variance = cast(Tensor, norm.running_mean).double(), cast(Tensor, norm.running_var).double()
    factor = norm.weight.double() / torch.sqrt(variance + norm.eps)
    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias.double()
    weight = conv.weight.double() * factor.reshape(-1, 1, 1, 1)
    return _conv_like(conv, weight, norm.bias.double() + (bias - mean) * factor, groups=conv.groups)


def _conv_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor, *, groups: int) -> nn.Conv2d:
    """A convolution with the geometry and dtype of ``conv`` and its own weight (O, I/groups, kh, kw) and bias (O)."""
    new = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        cast("tuple[int, int]", conv.kernel_size),
        stride=cast("tuple[int, int]", conv.stride),
        padding=cast("tuple[int, int]", conv.padding),
        dilation=cast("tuple[int, int]", conv.dilation),
        groups=groups,
        dtype=conv.weight.dtype,
        device=conv.weight.device,
    )
    new.weight.copy_(weight)
    cast(nn.Parameter, new.bias).copy_(bias)
    return new


def _cut_outputs(conv: nn.Conv2d, parts: int) -> list[nn.Conv2d]:
    """One convolution of one group as ``parts`` convolutions that each compute a run of its outputs."""
    weights, biases = conv.weight.chunk(parts), cast(Tensor, conv.bias).chunk(parts)
    return [_conv_like(conv, weight, bias, groups=1) for weight, bias in zip(weights, biases, strict=True)]


def _cut_groups(conv: nn.Conv2d, parts: int) -> list[nn.Conv2d]:
    """A grouped convolution as ``parts`` convolutions of ``groups / parts`` groups, each on its own input slice."""
    groups = conv.groups // parts
    weights, biases = conv.weight.chunk(parts), cast(Tensor, conv.bias).chunk(parts)
    return [_conv_like(conv, weight, bias, groups=groups) for weight, bias in zip(weights, biases, strict=True)]


def _densify(conv: nn.Conv2d) -> nn.Conv2d:
    """A grouped convolution as one of a single group whose weight is block diagonal."""
    outputs, inputs = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    weight = conv.weight.new_zeros(conv.out_channels, conv.in_channels, *conv.weight.shape[2:])
    for group in range(conv.groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        weight[rows, group * inputs : (group + 1) * inputs] = conv.weight[rows]
    return _conv_like(conv, weight, cast(Tensor, conv.bias), groups=1)


def _gate_layers(attention: SplitAttention) -> list[nn.Conv2d]:
    """The second fully connected layer as one layer per gate that is needed: 1 for radix 1 and 2, else R.

    Its outputs are ordered (K, R, C/K); each result is ordered (K, C/K), as the splits' channels are.
    """
    fc2, radix, groups = attention.fc2, attention.radix, attention.cardinality
    width = fc2.out_channels // (radix * groups)
    weight = fc2.weight.double().view(groups, radix, width, -1)
    bias = cast(Tensor, fc2.bias).double().view(groups, radix, width)
    if radix == 2:
        weights, biases = [weight[:, 0] - weight[:, 1]], [bias[:, 0] - bias[:, 1]]
    else:
        weights, biases = list(weight.unbind(1)), list(bias.unbind(1))
    return [
        _conv_like(fc2, w.reshape(groups * width, -1, 1, 1), b.reshape(-1), groups=groups)
        for w, b in zip(weights, biases, strict=True)
    ]


def _fold_downsample(downsample: nn.Module) -> nn.Sequential:
    pool, conv, norm = cast(nn.Sequential, downsample)
    layers = {"conv": _fold(conv, norm)}
    if cast(nn.AvgPool2d, pool).kernel_size == 1:
        return _named(layers)
    return _named({"pool": deepcopy(pool), **layers})


def _named(layers: Mapping[str, nn.Module]) -> nn.Sequential:
    sequence = nn.Sequential()
    for name, layer in layers.items():
        sequence.add_module(name, layer)
    return sequence


def _copy_linear(linear: nn.Linear) -> nn.Linear:
    new = nn.Linear(linear.in_features, linear.out_features, dtype=linear.weight.dtype, device=linear.weight.device)
    new.load_state_dict(linear.state_dict())
    return new
