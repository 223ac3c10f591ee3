"""Bias correction: the mean error that each quantized layer makes on real images, taken out of its bias.

Rounding weights and inputs shifts a layer's mean output (Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction", arXiv 1906.04721, section 4.2). A layer is linear, so its mean output follows from
the mean of what each of its weights meets. That is measured, not modelled, *on the float network's own tensors*, so
that one layer's error is never charged to another. What is within the noise of few images is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from resnest_edge.errors import ScalesError
from resnest_edge.graph.model import add_initializer

_FLOAT = ir.DataType.FLOAT
_Float = npt.NDArray[np.float64]


class InputMeans:
    """Keeps, image by image, the means of what one layer reads and of what quantizing it adds: all its bias needs."""

    def __init__(self) -> None:
        self._values: list[npt.NDArray[np.float32]] = []
        self._errors: list[npt.NDArray[np.float32]] = []

    def update(self, values: npt.NDArray[np.float32], errors: npt.NDArray[np.float32]) -> None:
        """Keep one batch.

        Args:
            values: the means of the layer's float input, as ``LayerInput.means`` gives them.
            errors: the same of its quantized input less the float one.
        """
        self._values.append(values)
        self._errors.append(errors)

    def output_errors(self, weight: _Float, quantized: _Float) -> _Float:
        """The mean error of each output over positions, (N, channels).

        With x̂ = x + e and Ŵ = W + E, the mean of ŴX̂ − WX is E·mean(x) + Ŵ·mean(e): a difference of large sums is never
        taken.

        Args:
            weight: (groups, outputs per group, columns).
            quantized: the same shape: what it is dequantized to.
        """
        values, errors = (np.concatenate(means).astype(np.float64) for means in (self._values, self._errors))
        found: _Float = values.swapaxes(0, 1) @ (quantized - weight).swapaxes(1, 2)
        found += errors.swapaxes(0, 1) @ quantized.swapaxes(1, 2)
        by_image: _Float = found.swapaxes(0, 1).reshape(len(values), -1)
        return by_image


def correction(errors: _Float) -> tuple[float, ...]:
    """What to take from a layer's bias, per output channel.

    The mean error m is shrunk by ``max(0, 1 − s²/(n·m²))`` with s² its variance over n images: a mean that n images
    cannot tell from zero stays (the positive-part James-Stein factor).

    Args:
        errors: (n, channels), n ≥ 2.
    """
    mean = errors.mean(0)
    variance = errors.var(0, ddof=1)
    noise = np.divide(variance / len(errors), np.square(mean), out=np.ones_like(mean), where=mean != 0)
    return tuple((mean * np.maximum(0.0, 1.0 - noise)).astype(np.float32).tolist())


def shift_biases(core: ir.Model, corrections: Mapping[str, Sequence[float]]) -> ir.Model:
    """The core graph with ``bias − correction`` in every layer named; the core is left as it was.

    Raises:
        ScalesError: a layer that is not there, or that has another number of channels.
    """
    if not corrections:
        return core
    model = core.clone()
    nodes = {node.name or "": node for node in model.graph}
    for layer, values in corrections.items():
        node = nodes.get(layer)
        if node is None or node.op_type not in ("Conv", "Gemm"):
            raise ScalesError(f"bias corrections name a layer {layer} that is not in this graph")
        shift = np.asarray(values, np.float32)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        old = np.zeros_like(shift) if bias is None or bias.const_value is None else bias.const_value.numpy()
        if old.shape != shift.shape:
            raise ScalesError(f"{layer} has {old.size} channels, and its bias correction {shift.size}")
        new = add_initializer(model.graph, f"{layer}.bias.corrected", old - shift, _FLOAT)
        if len(node.inputs) < 3:
            node.resize_inputs(3)
        node.replace_input_with(2, new)
        if bias is not None and not bias.uses():
            model.graph.initializers.pop(bias.name or "", None)
    return model
