"""Fake quantization in PyTorch, to the last bit what QuantizeLinear and DequantizeLinear write, with a gradient.

The gradient is the straight-through estimator (Bengio et al., arXiv 1308.3432), cut off where a value saturates
(Jacob et al., arXiv 1712.05877, section 3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from resnest_edge.grid import SMALLEST_SCALE


class _RoundTrip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, lowest: int, highest: int) -> Tensor:
        integers = torch.round(x / scale) + zero_point
        ctx.save_for_backward((integers >= lowest) & (integers <= highest))
        return (integers.clamp(lowest, highest) - zero_point) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None, None


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, lowest: int, highest: int) -> Tensor:
    """Quantize and dequantize, rounding half to even.

    Args:
        x: float32, any shape.
        scale: float32, a shape that broadcasts to ``x``.
        zero_point: float32 integers, likewise.
        lowest: smallest integer.
        highest: largest integer.
    """
    quantized: Tensor = _RoundTrip.apply(x, scale, zero_point, lowest, highest)  # type: ignore[no-untyped-call]
    return quantized


def fake_quantize_weight(weight: Tensor, axis: int, limit: int) -> Tensor:
    """A weight on the grid of :func:`resnest_edge.quantize.weights.quantize_weight`: symmetric, by its largest value.

    Args:
        weight: float32, any shape.
        axis: output-channel axis; each channel has a scale of its own.
        limit: largest magnitude of an integer.
    """
    others = [dim for dim in range(weight.dim()) if dim != axis]
    with torch.no_grad():
        wide = weight.double().abs().amax(others, keepdim=True) / limit
        scale = _round_up(wide.clamp(min=SMALLEST_SCALE))
        # float64 division as on export: float32's could round another way, half a step from a boundary
        integers = torch.round(weight.double() / scale.double()).clamp(-limit, limit).float()
    quantized: Tensor = _StraightThrough.apply(weight, integers * scale)  # type: ignore[no-untyped-call]
    return quantized


class _StraightThrough(torch.autograd.Function):
    """The second argument's value with the first one's gradient: ``w + (q − w)`` would lose the last bit of q."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, quantized: Tensor) -> Tensor:  # noqa: ARG004
        return quantized.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradients[0], None


def _round_up(values: Tensor) -> Tensor:
    """The smallest float32 numbers not below float64 ``values``."""
    rounded = values.float()
    return torch.where(
        rounded.double() < values, torch.nextafter(rounded, torch.full_like(rounded, torch.inf)), rounded
    )
