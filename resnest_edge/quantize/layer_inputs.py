"""What a weight multiplies: a layer's input as rows of numbers, one row for each output position.

A convolution is a matrix product over patches (im2col): its weight (O, I/groups, kh, kw) is a matrix of O/groups rows
for each group, whose columns run over (channel, kernel row, kernel column). A row of its input is the patch under
the kernel at one output position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
        outputs_first = np.moveaxis(values, self.axis, 0)
        return outputs_first.reshape(self.inputs[0].groups, len(outputs_first) // self.inputs[0].groups, -1)

    def unmatrix(self, matrix: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        """What :meth:`matrix` made, in the weight's own shape."""
        moved = [self.shape[self.axis], *(size for index, size in enumerate(self.shape) if index != self.axis)]
        return np.ascontiguousarray(np.moveaxis(matrix.reshape(moved), 0, self.axis))


def rounded_weights(core: ir.Model, placement: Placement) -> list[RoundedWeight]:
    """The weights of a placement that can be rounded by their effect, in graph order.

    Left out, and so rounded to nearest, are weights of which a reader is no two-dimensional convolution with explicit
    padding and no plain product of a matrix (``Gemm`` with α ≠ 1 or transposed input; ``MatMul`` with stacked weights).
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
        if len(shape) != 4 or _attribute(node, "auto_pad", "NOTSET") != "NOTSET":
            return None
        rows, columns = shape[2:]
        return LayerInput(
            tensor,
            (rows, columns),
            tuple(_attribute(node, "strides", (1, 1))),
            tuple(_attribute(node, "dilations", (1, 1))),
            tuple(_attribute(node, "pads", (0, 0, 0, 0))),
            _attribute(node, "group", 1),
        )
    plain = node.op_type == "MatMul" or (_attribute(node, "transA", 0) == 0 and _attribute(node, "alpha", 1.0) == 1.0)
    return LayerInput(tensor) if plain and len(shape) == 2 else None


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
