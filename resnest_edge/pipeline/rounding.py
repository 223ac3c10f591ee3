"""Weights rounded layer by layer, by their effect on the layer's output over a few of the calibration images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.onnxruntime import GraphRunner
from resnest_edge.calibration.deltas import pack_deltas
from resnest_edge.calibration.scales import Scales
from resnest_edge.graph.model import observing
from resnest_edge.grid import Grid
from resnest_edge.images import ImageSet
from resnest_edge.pipeline.progress import Progress
from resnest_edge.pipeline.typed import Network, few_batches
from resnest_edge.quantize.insertion import nearest_weight
from resnest_edge.quantize.layer_inputs import LayerInput, RoundedWeight, rounded_weights
from resnest_edge.quantize.placement import Placement
from resnest_edge.quantize.rounding import Moments, Rounder, groups_within

_IMAGES = 64
_ROWS = 2048  # of inputs, near the widest usual matrix (2,304 columns): 32 positions of each of 64 images
_BUDGET = 384 << 20  # bytes of covariances held at once
_Inputs = tuple[LayerInput, ...]


def round_weights(
    network: Network,
    scales: Scales,
    placement: Placement,
    images: ImageSet,
    *,
    centred: bool,
    skip_bad: bool,
    progress: Progress,
) -> Scales:
    """Round every quantized weight by its effect on its layer's output.

    The inputs are the float network's own tensors, quantized; their covariances are gathered in as many passes over the
    images as keep them within 384 MiB. The same images give the same bits on the same machine.

    Args:
        network: the FP32 core.
        scales: calibrated ranges, without rounding and corrections.
        placement: what the target wants quantized.
        images: the calibration images; 64 of them, spread evenly, are used.
        centred: whether biases are corrected afterwards, which takes out what rounding does to a mean.
        skip_bad: leave damaged pictures out; calibration has named them.
        progress: told of each batch.

    Returns:
        The scales with what is added to each weight's nearest integers.
    """
    scales = replace(scales, float_type=placement.float_type, weight_bits=placement.weight_bits)
    shared: dict[_Inputs, list[RoundedWeight]] = {}
    for weight in rounded_weights(network.core, placement):
        shared.setdefault(weight.inputs, []).append(weight)
    rounding: dict[str, str] = {}
    runs = groups_within({inputs: Moments.size(*weights[0].columns) for inputs, weights in shared.items()}, _BUDGET)
    for number, run in enumerate(runs):
        moments = {inputs: Moments(*shared[inputs][0].columns) for inputs in run}
        name = "round weights" if len(runs) == 1 else f"round weights, part {number + 1} of {len(runs)}"
        _gather(network, scales, placement, images, moments, skip_bad=skip_bad, progress=progress, name=name)
        for inputs in run:
            rounder = Rounder(moments.pop(inputs), centred=centred)
            for weight in shared[inputs]:
                rounding[weight.name] = pack_deltas(_deltas(network, scales, placement, weight, rounder))
    return replace(scales, rounding=rounding)


def _gather(
    network: Network,
    scales: Scales,
    placement: Placement,
    images: ImageSet,
    moments: Mapping[_Inputs, Moments],
    *,
    skip_bad: bool,
    progress: Progress,
    name: str,
) -> None:
    """Run a few images through the float network and count the quantized inputs of the layers in ``moments``."""
    tensors = list(dict.fromkeys(each.tensor for inputs in moments for each in inputs))
    ranges = {tensor: scales.ranges[tensor] for tensor in tensors}
    grids = {tensor: Grid.covering(kept.low, kept.high, placement.style) for tensor, kept in ranges.items()}
    runner = GraphRunner(*observing(network.core, tensors))
    positions = -(-_ROWS // min(len(images), _IMAGES))  # fewer images give more positions each
    for batch, seen, total in few_batches(network, images, _IMAGES, skip_bad=skip_bad):
        values = dict(zip(tensors, runner(batch), strict=True))
        for inputs, found in moments.items():
            for each in inputs:
                rows = each.rows(values[each.tensor], positions, seen - len(batch))
                found.update(grids[each.tensor].round_trip(rows.astype(np.float64)).astype(np.float32))
        progress(name, seen, total)


def _deltas(
    network: Network, scales: Scales, placement: Placement, weight: RoundedWeight, rounder: Rounder
) -> npt.NDArray[np.int8]:
    constant = network.core.graph.initializers[weight.name].const_value
    assert constant is not None
    array = constant.numpy()
    nearest, steps = nearest_weight(array, weight.axis, scales, placement)
    matrix = weight.matrix(array.astype(np.float64))
    found = rounder.deltas(
        matrix,
        weight.matrix(nearest),
        steps.astype(np.float64).reshape(matrix.shape[:2]),
        limit=placement.weight_limit,
    )
    return weight.unmatrix(found)
