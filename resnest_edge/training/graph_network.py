"""A quantized core graph as a PyTorch module that computes what the graph says and can be trained.

Fine-tuning has to see the Q/DQ that an engine will run, all of it and nothing else. So the network is not annotated a
second time: the exported graph itself is interpreted, node by node, with its weights as parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnest_edge.errors import GraphError
from resnest_edge.graph.model import INPUT, LOGITS, weighted_nodes
from resnest_edge.quantize.placement import WEIGHTED, Placement
from resnest_edge.training.fake_quant import fake_quantize, fake_quantize_weight

_Inputs = list[Tensor]
_Attributes = dict[str, Any]


class GraphNetwork(nn.Module):
    """Computes the logits of a core graph, with Q/DQ as written and the float weights of ``core`` as parameters.

    Args:
        core: FP32 core graph: the values of weights and biases.
        quantized: what ``quantize_graph`` made of it in FP32, or ``core`` itself for the float network.
        placement: the one it was quantized for.

    Raises:
        GraphError: an operator that is not known here.
    """

    def __init__(self, core: ir.Model, quantized: ir.Model, placement: Placement) -> None:
        super().__init__()
        self._limit = placement.weight_limit
        self._nodes = list(quantized.graph)
        unknown = sorted({node.op_type for node in self._nodes} - set(_OPERATORS) - {"DequantizeLinear"})
        if unknown:
            raise GraphError(f"fine-tuning does not know the operators {', '.join(unknown)}")
        trained = set(_trained(core))
        self._constants: dict[str, Tensor] = {}
        self._parameter_names: dict[str, str] = {}
        for name, value in {**core.graph.initializers, **quantized.graph.initializers}.items():
            if value.const_value is None:
                raise GraphError(f"{name} has no value")
            tensor = torch.from_numpy(np.array(value.const_value.numpy()))
            if name in trained:
                self._parameter_names[name] = name.replace(".", "/")
                self.register_parameter(self._parameter_names[name], nn.Parameter(tensor))
            else:
                self._constants[name] = tensor

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of a normalised NCHW batch."""
        values: dict[str, Tensor] = {INPUT: images}
        for node in self._nodes:
            values[node.outputs[0].name or ""] = self._run(node, values)
        return values[LOGITS]

    def folded(self) -> dict[str, Tensor]:
        """The trained weights and biases by their names in the core graph."""
        return {name: self.get_parameter(own).detach().clone() for name, own in self._parameter_names.items()}

    def _run(self, node: ir.Node, values: dict[str, Tensor]) -> Tensor:
        if node.op_type == "DequantizeLinear":
            return self._dequantize(node, values)
        inputs = [self._value(value, values) for value in node.inputs if value is not None]
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        return _OPERATORS[node.op_type](inputs, attributes)

    def _dequantize(self, node: ir.Node, values: dict[str, Tensor]) -> Tensor:
        """Of an activation the whole round trip, as QuantizeLinear hands its input on; of a weight its parameter's."""
        source, scale, zero_point = node.inputs[0], node.inputs[1], node.inputs[2]
        assert source is not None and scale is not None and zero_point is not None
        weight = (source.name or "").removesuffix(".q")
        if weight in self._parameter_names:
            axis = node.attributes["axis"].as_int()
            return fake_quantize_weight(self._parameter(weight), axis, self._limit)
        unsigned = self._constants[zero_point.name or ""].dtype is torch.uint8
        lowest, highest = (0, 255) if unsigned else (-128, 127)
        zero = self._constants[zero_point.name or ""].float()
        return fake_quantize(values[source.name or ""], self._constants[scale.name or ""], zero, lowest, highest)

    def _value(self, value: ir.Value, values: dict[str, Tensor]) -> Tensor:
        name = value.name or ""
        if name in values:
            return values[name]
        return self._parameter(name) if name in self._parameter_names else self._constants[name]

    def _parameter(self, name: str) -> Tensor:
        return self.get_parameter(self._parameter_names[name])


def _trained(core: ir.Model) -> Iterator[str]:
    for node, weight in weighted_nodes(core.graph, WEIGHTED):
        yield weight.name or ""
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            yield node.inputs[2].name or ""


def _conv(inputs: _Inputs, given: _Attributes) -> Tensor:
    x, padding = _padded(inputs[0], given)
    bias = inputs[2] if len(inputs) > 2 else None
    strides, dilations = given.get("strides", (1, 1)), given.get("dilations", (1, 1))
    return F.conv2d(x, inputs[1], bias, tuple(strides), padding, tuple(dilations), given.get("group", 1))


def _padded(x: Tensor, given: _Attributes) -> tuple[Tensor, tuple[int, int]]:
    """The input and the padding to run with; padding that differs at the two ends is put on first."""
    top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom)), (0, 0)


def _gemm(inputs: _Inputs, given: _Attributes) -> Tensor:
    x, weight = inputs[0], inputs[1]
    product = x @ (weight.T if given.get("transB", 0) else weight)
    return product + inputs[2] if len(inputs) > 2 else product


def _max_pool(inputs: _Inputs, given: _Attributes) -> Tensor:
    top, left, _, _ = given.get("pads", (0, 0, 0, 0))
    return F.max_pool2d(
        inputs[0],
        tuple(given["kernel_shape"]),
        tuple(given.get("strides", (1, 1))),
        (top, left),
        ceil_mode=bool(given.get("ceil_mode", 0)),
    )


def _average_pool(inputs: _Inputs, given: _Attributes) -> Tensor:
    top, left, _, _ = given.get("pads", (0, 0, 0, 0))
    return F.avg_pool2d(
        inputs[0],
        tuple(given["kernel_shape"]),
        tuple(given.get("strides", (1, 1))),
        (top, left),
        ceil_mode=bool(given.get("ceil_mode", 0)),
        count_include_pad=bool(given.get("count_include_pad", 0)),
    )


def _mean(inputs: _Inputs, given: _Attributes) -> Tensor:
    return inputs[0].mean(inputs[1].tolist(), keepdim=bool(given.get("keepdims", 1)))


def _reshape(inputs: _Inputs, given: _Attributes) -> Tensor:
    x, shape = inputs[0], inputs[1].tolist()
    kept = [x.shape[dim] if size == 0 and not given.get("allowzero") else size for dim, size in enumerate(shape)]
    return x.reshape(kept)


_OPERATORS: dict[str, Callable[[_Inputs, _Attributes], Tensor]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda inputs, _: inputs[0].mean((2, 3), keepdim=True),
    "ReduceMean": _mean,
    "Reshape": _reshape,
    "Relu": lambda inputs, _: F.relu(inputs[0]),
    "Sigmoid": lambda inputs, _: torch.sigmoid(inputs[0]),
    "Exp": lambda inputs, _: torch.exp(inputs[0]),
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    "Sub": lambda inputs, _: inputs[0] - inputs[1],
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "Div": lambda inputs, _: inputs[0] / inputs[1],
    "Max": lambda inputs, _: torch.maximum(inputs[0], inputs[1]),
    "QuantizeLinear": lambda inputs, _: inputs[0],
}
"""What core graphs of ResNeSts hold in the forms that can be written back to a checkpoint."""
