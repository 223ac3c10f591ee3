"""What TensorRT made of a graph, read from its parsed network: is it the precision that was announced?

A strongly typed network computes every layer in the types written in it, so what stands here is what an engine runs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnest_edge.errors import GraphError
from resnest_edge.spec import GraphInfo, Precision

_WORDS = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8"}
_HINT = "The graph and its description do not belong together: export it again."


@dataclass(frozen=True)
class Account:
    """Layers of a parsed network, counted.

    Attributes:
        layers: per kind of layer, how many give each type: ``{"activation": {"fp16": 115}}``.
        matrix_layers: convolutions and matrix products per precision; ``int8`` where both operands are dequantized.
        narrow_groups: INT8 convolutions whose groups are not a multiple of 4 channels wide, which INT8 kernels want
            (TensorRT issues 1409 and 4529): they may run slower than FP16, or in it.
    """

    layers: dict[str, dict[str, int]]
    matrix_layers: dict[str, int]
    narrow_groups: tuple[str, ...] = ()


def walk_network(library: Any, network: Any, info: GraphInfo) -> Account:
    """Check a parsed network against what was announced, and count its layers.

    Args:
        library: TensorRT's module.
        network: an ``INetworkDefinition``.
        info: what the graph is said to be.

    Raises:
        GraphError: a convolution's precision is not the announced one, only one of its operands is quantized, Q/DQ is
            not symmetric int8 per tensor (activations) or per output channel (kernels), or uint8 goes beyond the
            input's cast; the message names the layer.
    """
    walk = _Walk(library, network)
    matrix: Counter[str] = Counter()
    narrow: list[str] = []
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for layer in walk.layers:
        walk.check_uint8(layer)
        walk.check_symmetric(layer)
        precision = walk.precision(layer)
        kinds[layer.type.name.lower()][precision] += 1
        if walk.is_matrix(layer):
            matrix[precision] += 1
            narrow += [layer.name] * (precision == Precision.INT8.value and walk.has_narrow_groups(layer))
        if precision not in walk.announced(layer, info):
            raise GraphError(
                f"{layer.name} computes in {precision}, and the graph was announced as {_announcement(info)}",
                hint=_HINT,
            )
    if info.precision is Precision.INT8 and not matrix[Precision.INT8.value]:
        raise GraphError("announced as int8, and none of its convolutions is quantized", where=info.name, hint=_HINT)
    layers = {kind: dict(sorted(kinds[kind].items())) for kind in sorted(kinds)}
    return Account(layers, dict(sorted(matrix.items())), tuple(narrow))


class _Walk:
    """A network with the producer of each tensor."""

    def __init__(self, library: Any, network: Any) -> None:
        self._library = library
        self._kind = library.LayerType
        self.layers = [network.get_layer(index) for index in range(network.num_layers)]
        self._producers = {tensor.name: layer for layer in self.layers for tensor in _outputs(layer)}

    def is_matrix(self, layer: Any) -> bool:
        """Whether this is a convolution or a matrix product."""
        return layer.type in (self._kind.CONVOLUTION, self._kind.DECONVOLUTION, self._kind.MATRIX_MULTIPLY)

    def has_narrow_groups(self, layer: Any) -> bool:
        """Whether this is a grouped convolution whose groups are not a multiple of 4 channels wide."""
        if layer.type != self._kind.CONVOLUTION:
            return False
        tensor = layer.get_input(0)
        layer.__class__ = self._library.IConvolutionLayer
        groups = int(layer.num_groups)
        return groups > 1 and int(tensor.shape[1]) // groups % 4 != 0

    def precision(self, layer: Any) -> str:
        """Our word for what a layer computes in: the type it gives, or int8 for a matrix layer between Q/DQ.

        Raises:
            GraphError: only one of its operands is dequantized, or its scales do not lie as INT8 kernels need them.
        """
        given = next((_word(tensor) for tensor in _outputs(layer)), "none")
        if not self.is_matrix(layer):
            return given
        operands = [self._dequantize(tensor) for tensor in list(_inputs(layer))[:2]]  # a float kernel is no input
        if not any(operands):
            return given
        if len(operands) < 2 or not all(operands):
            raise GraphError(f"{layer.name} has one quantized operand and one in {given}, so it would not run in INT8")
        if layer.type == self._kind.CONVOLUTION:
            self._check_scales(layer, *operands)
        return Precision.INT8.value

    def announced(self, layer: Any, info: GraphInfo) -> tuple[str, ...]:
        """The precisions that ``info`` allows this layer; where it says nothing, the layer's own."""
        if self.is_matrix(layer):
            return info.float_type.value, info.precision.value
        if layer.type == self._kind.DEQUANTIZE:
            return (info.float_type.value,)
        return (self.precision(layer),)

    def check_uint8(self, layer: Any) -> None:
        """uint8 is what cameras give: the network's input has it, its cast reads it, and nothing else may.

        Raises:
            GraphError: something else does.
        """
        reads = any(_is_uint8(tensor) for tensor in _inputs(layer)) and layer.type != self._kind.CAST
        if reads or any(_is_uint8(tensor) for tensor in _outputs(layer)):
            raise GraphError(f"{layer.name} works on uint8 values, and TensorRT quantizes to int8 only")

    def check_symmetric(self, layer: Any) -> None:
        """Q/DQ has the zero point 0.

        Raises:
            GraphError: it has another.
        """
        if layer.type not in (self._kind.QUANTIZE, self._kind.DEQUANTIZE):
            return
        for tensor in list(_inputs(layer))[2:]:
            if np.any(self._constant(tensor, layer)):
                raise GraphError(f"{layer.name} has a zero point other than 0, and TensorRT quantizes symmetrically")

    def _check_scales(self, layer: Any, activation: Any, kernel: Any) -> None:
        """One scale for the activations; for the kernel one a channel, along its first axis, or one in all."""
        if _volume(activation) != 1:
            raise GraphError(f"{layer.name} reads activations quantized per channel; INT8 needs one scale")
        kernel.__class__ = self._library.IDequantizeLayer
        if _volume(kernel) != 1 and kernel.axis != 0:
            raise GraphError(f"{layer.name} has a kernel quantized along axis {kernel.axis}; INT8 needs axis 0")

    def _dequantize(self, tensor: Any) -> Any:
        """The dequantize layer a tensor comes from, directly or through reshapes, or None."""
        layer = self._producers.get(tensor.name)
        while layer is not None and layer.type == self._kind.SHUFFLE:
            layer = self._producers.get(layer.get_input(0).name)
        return layer if layer is not None and layer.type == self._kind.DEQUANTIZE else None

    def _constant(self, tensor: Any, reader: Any) -> Any:
        layer = self._producers.get(tensor.name)
        if layer is None or layer.type != self._kind.CONSTANT:
            raise GraphError(f"{reader.name} has a zero point that is no constant")
        layer.__class__ = self._library.IConstantLayer  # the bindings hand every layer out as its base class
        return layer.weights


def _announcement(info: GraphInfo) -> str:
    same = info.precision is info.float_type
    return info.precision.value if same else f"{info.precision} with {info.float_type} around it"


def _inputs(layer: Any) -> Iterator[Any]:
    tensors = (layer.get_input(index) for index in range(layer.num_inputs))
    return (tensor for tensor in tensors if tensor is not None)


def _outputs(layer: Any) -> Iterator[Any]:
    return (layer.get_output(index) for index in range(layer.num_outputs))


def _word(tensor: Any) -> str:
    name = str(tensor.dtype.name)
    return _WORDS.get(name, name.lower())


def _is_uint8(tensor: Any) -> bool:
    return str(tensor.dtype.name) == "UINT8"


def _volume(dequantize: Any) -> int:
    """Number of scales of a dequantize layer."""
    return int(np.prod(tuple(dequantize.get_input(1).shape), dtype=np.int64))
