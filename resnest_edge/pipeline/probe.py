"""Any choice of quantized layers, run as the graph writes it; sensitivity and the bound on the drop are made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from resnest_edge.backends.onnxruntime import GraphRunner
from resnest_edge.calibration.scales import Scales
from resnest_edge.graph.model import LOGITS, to_bytes
from resnest_edge.images import ImageSet, iter_batches, normalise
from resnest_edge.pipeline.typed import Network, quantized_corrections
from resnest_edge.quantize.bias import shift_biases
from resnest_edge.quantize.insertion import quantize_graph
from resnest_edge.quantize.placement import Placement
from resnest_edge.quantize.points import quantized_nodes
from resnest_edge.spec import Precision

_IMAGES_PER_RUN = 8


class Probe:
    """Logits of one network with any of its layers quantized, on the same few images.

    Q/DQ is computed in float32 exactly as the graph writes it, so what is found belongs to the graph, not to the
    kernels of this machine.

    Args:
        network: the FP32 core.
        scales: its ranges and bias corrections.
        placement: what the target wants quantized.
        images: pictures; all are held in memory, normalised.

    Attributes:
        macs: per layer that the placement quantizes, multiply-accumulates for one image, in graph order.
        labels: (N,) class indices, −1 where unknown.
        reference: (N, classes) FP32 logits.
    """

    def __init__(self, network: Network, scales: Scales, placement: Placement, images: ImageSet) -> None:
        self._core, self._scales = network.core, scales
        self._placement = replace(placement, float_type=Precision.FP32)
        size = network.only_batch or _IMAGES_PER_RUN
        batches = [
            (normalise(batch.images.astype(np.uint8, copy=False), network.preprocessing), batch.labels)
            for batch in iter_batches(images, network.preprocessing, size)
            if network.only_batch in (None, len(batch.images))
        ]
        self._batches = [pixels for pixels, _ in batches]
        self.labels: npt.NDArray[np.int64] = np.concatenate([labels for _, labels in batches])
        self.macs = dict(_macs(network.core, placement))
        self.reference = self._run(network.core)

    def logits(self, keep_float: frozenset[str]) -> npt.NDArray[np.float32]:
        """(N, classes) logits with every layer quantized but those named."""
        placement = replace(self._placement, keep_float=keep_float | self._placement.keep_float)
        core = shift_biases(self._core, quantized_corrections(self._scales, placement))
        return self._run(quantize_graph(core, self._scales, placement))

    def only(self, layer: str) -> npt.NDArray[np.float32]:
        """(N, classes) logits with one layer quantized: its weight, its input, the shortcut that joins it."""
        alone = replace(self._placement, outputs=False, elementwise=frozenset())
        placement = replace(alone, keep_float=(frozenset(self.macs) - {layer}) | alone.keep_float)
        core = shift_biases(self._core, quantized_corrections(self._scales, placement))
        return self._run(quantize_graph(core, self._scales, placement))

    def _run(self, model: ir.Model) -> npt.NDArray[np.float32]:
        runner = GraphRunner(to_bytes(model), [LOGITS], qdq_as_written=True)
        answers: list[npt.NDArray[Any]] = [runner(batch)[0] for batch in self._batches]
        return np.concatenate(answers)


def _macs(core: ir.Model, placement: Placement) -> Iterator[tuple[str, int]]:
    """A weight is used once for each position of the output."""
    for node, weight in quantized_nodes(core.graph, placement):
        shape = node.outputs[0].shape
        positions = [dim for dim in shape[2:] if isinstance(dim, int)] if shape is not None else []
        yield node.name or "", weight.const_value.size * prod(positions) if weight.const_value is not None else 0
