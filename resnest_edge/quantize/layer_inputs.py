"""What a weight multiplies: a layer's input as rows of numbers, one row for each output position.

A convolution is a matrix product over patches (im2col): its weight (O, I/groups, kh, kw) is a matrix of O/groups rows
for each group, whose columns run over (channel, kernel row, kernel column). A row of its input is the patch under
the kernel at one output position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from resnest_edge.quantize.placement import Placement
from resnest_edge.quantize.points import quantized_nodes

_Float32 = npt.NDArray[np.float32]
_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True)
class LayerInput:
    """How one layer reads one tensor.

    Attributes:
        tensor: its name in the core graph.
        kernel: (rows, columns) of a convolution's kernel; None for a matrix product.
        strides, dilations: of the convolution, (rows, columns).
        pads: zeros around the tensor: top, left, bottom, right.
        groups: of the convolution.
    """

    tensor: str
    kernel: tuple[int, int] | None = None
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1

    def rows(self, values: npt.NDArray[Any], most: int, first: int = 0) -> _Float32:
        """A sample of the rows that the weight multiplies.

        Positions are taken at even distances; where they begin shifts from image to image, so that all are reached.

        Args:
            values: the tensor: (N, C, H, W) for a convolution, (N, …, C) for a matrix product.
            most: positions to take of each image.
            first: number of the batch's first image, which decides where its positions begin.

        Returns:
            float32 (groups, rows, columns of the weight's matrix).
        """
        if self.kernel is None:
            flat = values.reshape(len(values), -1, values.shape[-1])
            taken = [image[_spread(flat.shape[1], most, first + index)] for index, image in enumerate(flat)]
            return np.concatenate(taken).astype(np.float32, copy=False)[None]
        windows = self._windows(values)
        width = windows.shape[3]
        taken = []
        for index, image in enumerate(windows):
            at = _spread(image.shape[1] * width, most, first + index)
            taken.append(image[:, at // width, at % width].swapaxes(0, 1))
        patches = np.concatenate(taken).astype(np.float32, copy=False)
        return np.ascontiguousarray(patches.reshape(len(patches), self.groups, -1).swapaxes(0, 1))

    def means(self, values: npt.NDArray[np.float32]) -> _Float32:
        """The mean of the rows that the weight multiplies, over all positions.

        A convolution's mean output is its weight times this: at each place of the kernel, the mean of what it meets.

        Args:
            values: the tensor: (N, C, H, W) for a convolution, (N, …, C) for a matrix product.

        Returns:
            float32 (N, groups, columns of the weight's matrix).
        """
        if self.kernel is None:
            flat: _Float32 = values.reshape(len(values), -1, values.shape[-1]).mean(1)
            return flat[:, None]
        count, channels, height, width = values.shape
        met = _met((height, width), self.kernel, self.strides, self.dilations, self.pads)
        return (values.reshape(count * channels, height * width) @ met).reshape(count, self.groups, -1)

    def _windows(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view (N, C, H', W', kernel rows, kernel columns)."""
        assert self.kernel is not None
        top, left, bottom, right = self.pads
        if any(self.pads):
            values = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
        reach = [(size - 1) * step + 1 for size, step in zip(self.kernel, self.dilations, strict=True)]
        windows = np.lib.stride_tricks.sliding_window_view(values, reach, axis=(2, 3))
        (down, across), (over, along) = self.strides, self.dilations
        return windows[:, :, ::down, ::across, ::over, ::along]


@dataclass(frozen=True)
class RoundedWeight:
    """A weight that can be rounded by its effect on the layers that read it.

    Attributes:
        name: of the constant in the core graph.
        shape: of the constant.
        axis: its output-channel axis.
        inputs: how each of its layers reads its input.
    """

    name: str
    shape: tuple[int, ...]
    axis: int
    inputs: tuple[LayerInput, ...]

    @property
    def columns(self) -> tuple[int, int]:
        """Groups, and columns of the weight's matrix in each."""
        return self.inputs[0].groups, prod(self.shape) // self.shape[self.axis]

    def matrix(self, values: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        """An array of the weight's shape as (groups, outputs per group, columns)."""
        return as_matrix(values, self.axis, self.inputs[0].groups)

    def unmatrix(self, matrix: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        """What :meth:`matrix` made, in the weight's own shape."""
        moved = [self.shape[self.axis], *(size for index, size in enumerate(self.shape) if index != self.axis)]
        return np.ascontiguousarray(np.moveaxis(matrix.reshape(moved), 0, self.axis))


@dataclass(frozen=True)
class CorrectedLayer:
    """A layer whose bias can take out the mean error of its output.

    Attributes:
        name: of the node.
        weight: name of the constant it reads.
        axis: the weight's output-channel axis.
        input: how it reads its input.
    """

    name: str
    weight: str
    axis: int
    input: LayerInput


def as_matrix(values: npt.NDArray[_Number], axis: int, groups: int) -> npt.NDArray[_Number]:
    """A weight as (groups, outputs per group, columns).

    Args:
        values: the weight.
        axis: its output-channel axis.
        groups: of the layer; 1 for a matrix product.
    """
    outputs_first = np.moveaxis(values, axis, 0)
    return outputs_first.reshape(groups, len(outputs_first) // groups, -1)


def corrected_layers(core: ir.Model, placement: Placement) -> list[CorrectedLayer]:
    """The layers of a placement whose bias can be corrected, in graph order.

    They are the two-dimensional convolutions whose padding is known and the ``Gemm`` with α = β = 1 and an input as it
    is, each with a bias that is a constant or absent.
    """
    found = []
    for node, weight in quantized_nodes(core.graph, placement):
        read = _layer_input(node, _shape(weight))
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        constant = bias is None or bias.const_value is not None
        if read is not None and constant and node.op_type in ("Conv", "Gemm") and _attribute(node, "beta", 1.0) == 1.0:
            axis = channel_axis(node, len(_shape(weight)))
            found.append(CorrectedLayer(node.name or "", weight.name or "", axis, read))
    return found


def rounded_weights(core: ir.Model, placement: Placement) -> list[RoundedWeight]:
    """The weights of a placement that can be rounded by their effect, in graph order.

    Left out, and so rounded to nearest, are weights of which a reader is no two-dimensional convolution whose padding
    is known and no plain product of a matrix (``Gemm`` with α ≠ 1 or transposed input; ``MatMul`` with stacked
    weights).
    """
    readers: dict[str, list[tuple[ir.Node, ir.Value]]] = {}
    for node, weight in quantized_nodes(core.graph, placement):
        readers.setdefault(weight.name or "", []).append((node, weight))
    found = []
    for name, nodes in readers.items():
        inputs = [_layer_input(node, _shape(weight)) for node, weight in nodes]
        axes = {channel_axis(node, len(_shape(weight))) for node, weight in nodes}
        known = [each for each in inputs if each is not None]
        if len(known) == len(inputs) and len(axes) == 1 and len({each.groups for each in known}) == 1:
            found.append(RoundedWeight(name, _shape(nodes[0][1]), axes.pop(), tuple(known)))
    return found


def channel_axis(node: ir.Node, rank: int) -> int:
    """Output-channel axis of a weight: 0 for Conv (O, I, kh, kw) and Gemm (O, I) with transB, else the last."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and _attribute(node, "transB", 0) else rank - 1


def _layer_input(node: ir.Node, shape: Sequence[int]) -> LayerInput | None:
    tensor = node.inputs[0].name or "" if node.inputs[0] is not None else ""
    if node.op_type == "Conv":
        if len(shape) != 4:
            return None
        kernel, groups = (shape[2], shape[3]), _attribute(node, "group", 1)
        strides, dilations = (tuple(_attribute(node, name, (1, 1))) for name in ("strides", "dilations"))
        pads = _pads(node, kernel, strides, dilations)
        return None if pads is None else LayerInput(tensor, kernel, strides, dilations, pads, groups)
    plain = node.op_type == "MatMul" or (_attribute(node, "transA", 0) == 0 and _attribute(node, "alpha", 1.0) == 1.0)
    return LayerInput(tensor) if plain and len(shape) == 2 else None


def _pads(
    node: ir.Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, int, int, int] | None:
    """Top, left, bottom, right; None where they are as the input's size will want them, and it is not known."""
    automatic = _attribute(node, "auto_pad", "NOTSET")
    if automatic == "VALID":
        return 0, 0, 0, 0
    if automatic == "NOTSET":
        top, left, bottom, right = _attribute(node, "pads", (0, 0, 0, 0))
        return top, left, bottom, right
    shape = None if node.inputs[0] is None else node.inputs[0].shape
    before, behind = [], []
    for axis in (0, 1):
        size = None if shape is None else shape[2 + axis]
        if not isinstance(size, int):
            return None
        covered = (-(-size // strides[axis]) - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        total = max(covered - size, 0)
        smaller, larger = total // 2, total - total // 2
        before.append(smaller if automatic == "SAME_UPPER" else larger)
        behind.append(larger if automatic == "SAME_UPPER" else smaller)
    return before[0], before[1], behind[0], behind[1]


@lru_cache(maxsize=64)  # layers of one geometry share it, and so do all batches
def _met(
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, int, int, int],
) -> _Float32:
    """(H·W, kernel rows · kernel columns): 1 / positions where a place of the kernel meets a place of the map."""
    top, left, bottom, right = pads
    rows = _meetings(size[0], top, bottom, kernel[0], strides[0], dilations[0])
    columns = _meetings(size[1], left, right, kernel[1], strides[1], dilations[1])
    met: _Float32 = np.einsum("hr,wc->hwrc", rows, columns).reshape(size[0] * size[1], -1)
    met.flags.writeable = False
    return met


def _meetings(size: int, before: int, behind: int, kernel: int, stride: int, dilation: int) -> _Float32:
    """(size, kernel): along one axis, 1 / positions where a place of the kernel meets a place of the map."""
    positions = (size + before + behind - dilation * (kernel - 1) - 1) // stride + 1
    met = np.zeros((size, kernel), np.float32)
    for place in range(kernel):
        at = np.arange(positions) * stride + place * dilation - before
        met[at[(at >= 0) & (at < size)], place] = 1.0 / positions
    return met


def _shape(weight: ir.Value) -> tuple[int, ...]:
    assert weight.const_value is not None
    return tuple(weight.const_value.numpy().shape)


def _attribute(node: ir.Node, name: str, default: Any) -> Any:
    found = node.attributes.get(name)
    return default if found is None else found.value


def _spread(positions: int, most: int, image: int) -> npt.NDArray[np.int64]:
    """Up to ``most`` positions at even distances; 7 is no divisor of a map's side, so images begin at all of them."""
    step = -(-positions // most)
    return np.arange(image * 7 % step, positions, step)
