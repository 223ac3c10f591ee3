"""The way back from inference form: folded weights written into a training-form network, which folds to them exactly.

Fine-tuning changes the folded weights; a checkpoint holds the unfolded ones. Of the many batch norms that fold to a
given convolution, the plainest is written: mean 0, variance 1 − ε, γ = 1, β = the folded bias. Then
``γ/√(σ² + ε)`` is 1 to 3·10⁻⁸, less than half the distance between neighbouring float32 numbers, and
:func:`resnest_edge.models.inference_form.to_inference_form` gives the same float32 weights, bit for bit.

What inference form cut is joined again: radix splits by their outputs, and of the two layers whose difference the gate
of radix 2 is, the second becomes zero. Joined groups (``dense``, ``split-dense``) have no way back: the zeros outside
their blocks may have moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn

from resnest_edge.errors import UsageError
from resnest_edge.models.resnest import Bottleneck, ResNeSt, SplitAttention

Folded = Mapping[str, Tensor]
"""Weights and biases by their names in :class:`resnest_edge.models.inference_form.InferenceResNeSt`."""


def to_training_form(network: ResNeSt, folded: Folded) -> ResNeSt:
    """A network of the same shape whose inference form has the folded weights.

    Args:
        network: gives the shape; it is left as it was.
        folded: the state dict of its inference form (``split`` or ``grouped`` stages), in float32, with other values.

    Raises:
        UsageError: a tensor is missing, left over or of another shape; the ``dense`` form, for one.
    """
    new = deepcopy(network).float().eval()
    left = dict(folded)
    with torch.no_grad():
        for number, (conv, norm) in enumerate(((0, 1), (3, 4), (6, None)), start=1):
            _unfold(left, f"stem.conv{number}", new.conv1[conv], new.bn1 if norm is None else new.conv1[norm])
        for number, stage in enumerate(new.stages(), start=1):
            for index, block in enumerate(stage):
                _unfold_block(left, f"layer{number}.{index}", cast(Bottleneck, block))
        _copy(new.fc.weight, _take(left, "fc.weight"), "fc.weight")
        _copy(new.fc.bias, _take(left, "fc.bias"), "fc.bias")
    if left:
        raise UsageError(f"{next(iter(left))} is no weight of this network's inference form")
    return new


def _unfold_block(left: dict[str, Tensor], name: str, block: Bottleneck) -> None:
    _unfold(left, f"{name}.conv1", block.conv1, block.bn1)
    _unfold(left, f"{name}.conv3", block.conv3, block.bn3)
    if block.downsample is not None:
        _, conv, norm = cast(nn.Sequential, block.downsample)
        _unfold(left, f"{name}.downsample.conv", conv, norm)
    if not isinstance(block.conv2, SplitAttention):
        _unfold(left, f"{name}.conv2", block.conv2, block.bn2)
        return
    attention, inner = block.conv2, f"{name}.split_attention"
    _unfold(left, f"{inner}.conv", attention.conv, attention.bn0)
    _unfold(left, f"{inner}.attention.fc1", attention.fc1, attention.bn1)
    _unfold_gate(left, f"{inner}.attention.fc2", attention)


def _unfold(left: dict[str, Tensor], name: str, conv: nn.Module, norm: nn.Module) -> None:
    """One convolution, or the radix splits that it was cut into."""
    conv, norm = cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm)
    _copy(conv.weight, _joined(left, name, "weight"), name)
    _copy(norm.bias, _joined(left, name, "bias"), name)
    cast(Tensor, norm.running_mean).zero_()
    cast(Tensor, norm.running_var).fill_(1.0 - norm.eps)
    norm.weight.fill_(1.0)
    if conv.bias is not None:
        conv.bias.zero_()


def _unfold_gate(left: dict[str, Tensor], name: str, attention: SplitAttention) -> None:
    """The gate's layers in the order (cardinality, radix, channel) of the one layer they came from."""
    radix, groups = attention.radix, attention.cardinality
    for kind, target in (("weight", attention.fc2.weight), ("bias", cast(Tensor, attention.fc2.bias))):
        if radix > 2:
            parts = [_take(left, f"{name}.{split}.{kind}") for split in range(radix)]
        else:
            gate = _take(left, f"{name}.{kind}")
            parts = [gate] if radix == 1 else [gate, torch.zeros_like(gate)]
        rows = [part.reshape(groups, -1, *part.shape[1:]) for part in parts]
        _copy(target, torch.stack(rows, 1).reshape(-1, *rows[0].shape[2:]), name)


def _joined(left: dict[str, Tensor], name: str, kind: str) -> Tensor:
    if f"{name}.{kind}" in left:
        return left.pop(f"{name}.{kind}")
    parts: list[Tensor] = []
    while f"{name}.{len(parts)}.{kind}" in left:
        parts.append(left.pop(f"{name}.{len(parts)}.{kind}"))
    if not parts:
        raise UsageError(f"{name}.{kind} is missing")
    return torch.cat(parts)


def _take(left: dict[str, Tensor], name: str) -> Tensor:
    if name not in left:
        raise UsageError(f"{name} is missing")
    return left.pop(name)


def _copy(target: Tensor, value: Tensor, name: str) -> None:
    if target.shape != value.shape:
        raise UsageError(
            f"{name} is {tuple(value.shape)}, not {tuple(target.shape)}",
            hint="Fine-tune the split or grouped form: the dense one cannot be written back.",
        )
    target.copy_(value)
