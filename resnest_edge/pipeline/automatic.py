"""`auto`: each tensor's range by the method whose error, measured in the outputs of its layers, is least."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.onnxruntime import GraphRunner
from resnest_edge.calibration.collect import Statistics
from resnest_edge.calibration.observers import HistogramObserver
from resnest_edge.calibration.ranges import AUTO, METHODS
from resnest_edge.calibration.scales import Scales, TensorRange
from resnest_edge.graph.model import to_bytes
from resnest_edge.grid import Grid
from resnest_edge.images import ImageSet
from resnest_edge.pipeline.progress import Progress
from resnest_edge.pipeline.typed import Network, few_batches
from resnest_edge.quantize.insertion import quantize_graph
from resnest_edge.quantize.layer_errors import error_graph
from resnest_edge.quantize.placement import Placement
from resnest_edge.quantize.points import quantized_uses
from resnest_edge.spec import Precision, QdqStyle

_IMAGES = 32
_BASE = "mse"
"""What the other methods' errors are told against, and what stands where no other errs less."""


def choose_ranges(
    network: Network,
    statistics: Statistics,
    placement: Placement,
    images: ImageSet,
    *,
    skip_bad: bool,
    progress: Progress,
) -> Scales:
    """Choose each tensor's range among the methods', by measured error.

    Every layer runs beside its float twin on the float network's own tensors, once with the ranges of each method. Of a
    method counts, for each layer that reads the tensor, the variance of the output's error (bias correction takes its
    mean) against that of ``mse``; readers that are no layers (residual adds, pools) count by the tensor's own squared
    round-trip error over all calibration images. The method of the least sum is taken, ``mse`` where it is equal.

    Args:
        network: the FP32 core.
        statistics: of its tensors over the calibration images.
        placement: what the target wants quantized.
        images: the calibration images; 32 of them, spread evenly, are used.
        skip_bad: leave damaged pictures out; calibration has named them.
        progress: told of each batch.
    """
    candidates = {method: statistics.scales(method, placement.style) for method in METHODS}
    layers = {
        method: _layer_errors(network, scales, placement, images, skip_bad, progress, f"try {method}")
        for method, scales in candidates.items()
    }
    readers = {
        value.name or "": [node.name if node.name in layers[_BASE] else None for node, _ in uses]
        for value, uses in quantized_uses(network.core.graph, placement).items()
    }
    ranges = {}
    for tensor in candidates[_BASE].ranges:
        kept = {method: scales.ranges[tensor] for method, scales in candidates.items()}
        ranges[tensor] = kept[
            _least(kept, statistics.observers[tensor], readers.get(tensor, [None]), layers, placement.style)
        ]
    return replace(candidates[_BASE], method=AUTO, ranges=ranges)


def _least(
    kept: Mapping[str, TensorRange],
    seen: HistogramObserver,
    readers: list[str | None],
    layers: Mapping[str, Mapping[str, float]],
    style: QdqStyle,
) -> str:
    """The method of the least error in one tensor's readers; None stands for readers that are no layers."""
    own = {method: _round_trip_error(seen, span, style) for method, span in kept.items()}
    totals = {
        method: sum(
            _ratio(own[method], own[_BASE]) if reader is None else _ratio(layers[method][reader], layers[_BASE][reader])
            for reader in dict.fromkeys(readers)
        )
        for method in kept
    }
    return min(totals, key=lambda method: (totals[method], method != _BASE))


def _ratio(error: float, base: float) -> float:
    if base > 0:
        return error / base
    return 1.0 if error == base else float("inf")


def _round_trip_error(seen: HistogramObserver, span: TensorRange, style: QdqStyle) -> float:
    centres = seen.centres()
    errors = Grid.covering(span.low, span.high, style).round_trip(centres) - centres
    return float(seen.counts @ np.square(errors))


def _layer_errors(
    network: Network,
    scales: Scales,
    placement: Placement,
    images: ImageSet,
    skip_bad: bool,
    progress: Progress,
    name: str,
) -> dict[str, float]:
    """Variance of each quantized layer's output error, summed over channels."""
    quantized = quantize_graph(network.core, scales, replace(placement, float_type=Precision.FP32))
    model, layers = error_graph(network.core, quantized, squares=True)
    if not layers:
        return {}
    runner = GraphRunner(to_bytes(model), [value.name or "" for value in model.graph.outputs], qdq_as_written=True)
    sums: list[npt.NDArray[np.float64]] = []
    count = 0
    for batch, seen, total in few_batches(network, images, _IMAGES, skip_bad=skip_bad):
        found = [values.sum(0, dtype=np.float64) for values in runner(batch)]
        sums = [old + new for old, new in zip(sums, found, strict=True)] if sums else found
        count += len(batch)
        progress(name, seen, total)
    means, squares = sums[: len(layers)], sums[len(layers) :]
    return {
        layer: float(np.maximum(square / count - np.square(mean / count), 0.0).sum())
        for layer, mean, square in zip(layers, means, squares, strict=True)
    }
