"""Learned layer by layer, from a few of the calibration images: how weights are rounded, what biases take out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.onnxruntime import GraphRunner
from resnest_edge.calibration.deltas import pack_deltas
from resnest_edge.calibration.scales import Scales
from resnest_edge.graph.model import observing
from resnest_edge.images import ImageSet
from resnest_edge.pipeline.effort import groups_within, image_bytes, release_memory, run_ahead
from resnest_edge.pipeline.progress import Progress
from resnest_edge.pipeline.typed import Network, effort, few_batches
from resnest_edge.quantize.bias import InputMeans, correction
from resnest_edge.quantize.insertion import nearest_weight, written_grid, written_weight
from resnest_edge.quantize.layer_inputs import (
    CorrectedLayer,
    LayerInput,
    RoundedWeight,
    as_matrix,
    corrected_layers,
    rounded_weights,
)
from resnest_edge.quantize.placement import Placement
from resnest_edge.quantize.rounding import Moments, Rounder

_IMAGES = 64
_ROWS = 2048  # of inputs, near the widest usual matrix (2,304 columns): 32 positions of each of 64 images
_BUDGET = 384 << 20  # bytes of covariances held at once, and of one image's tensors beside them
_Float32 = npt.NDArray[np.float32]


@dataclass
class _Together:
    """The weights that multiply the same inputs, and the layers that read those weights."""

    weights: list[RoundedWeight] = field(default_factory=list)
    layers: list[CorrectedLayer] = field(default_factory=list)

    def size(self) -> int:
        """Bytes of the inputs' covariance."""
        return Moments.size(*self.weights[0].columns) if self.weights else 0


_Shared = dict[tuple[LayerInput, ...], _Together]


@dataclass(frozen=True)
class _Seen:
    """What one batch tells: of layers' inputs the rows that are counted, and the means of values and of errors."""

    rows: dict[LayerInput, _Float32]
    means: dict[LayerInput, tuple[_Float32, _Float32]]


class Layerwise:
    """Learns a placement's rounding and bias corrections.

    The inputs are the float network's own tensors, quantized, of 64 images spread evenly. They are run in as many
    passes as keep the covariances, and one image's tensors, within 384 MiB. The same images give the same bits on the
    same machine.

    Args:
        network: the FP32 core.
        scales: calibrated ranges, without rounding and corrections.
        placement: what the target wants quantized.
        images: the calibration images.
        skip_bad: leave damaged pictures out; calibration has named them.
        progress: told of each batch.
    """

    def __init__(
        self,
        network: Network,
        scales: Scales,
        placement: Placement,
        images: ImageSet,
        *,
        skip_bad: bool,
        progress: Progress,
    ) -> None:
        self._network, self._placement, self._images = network, placement, images
        self._scales = replace(scales, float_type=placement.float_type, weight_bits=placement.weight_bits)
        self._skip_bad, self._progress = skip_bad, progress

    def learn(self, *, round_weights: bool, correct_biases: bool) -> Scales:
        """The scales with what is added to each weight's nearest integers, and what is taken from each layer's bias."""
        shared = self._shared(round_weights, correct_biases)
        what = " and ".join(["round weights"] * round_weights + ["correct biases"] * correct_biases)
        runs = groups_within({inputs: self._held(inputs, together) for inputs, together in shared.items()}, _BUDGET)
        rounding: dict[str, str] = {}
        corrections: dict[str, tuple[float, ...]] = {}
        for number, run in enumerate(runs):
            name = what if len(runs) == 1 else f"{what}, part {number + 1} of {len(runs)}"
            moments, means = self._gather({inputs: shared[inputs] for inputs in run}, name)
            for inputs in run:
                rounding |= self._round(shared[inputs].weights, moments.pop(inputs, None), centred=correct_biases)
                corrections |= self._correct(shared[inputs].layers, rounding, means)
        # Without rounding the weights are as any graph's own float type has them.
        rounded = replace(self._scales, rounding=rounding) if round_weights else replace(self._scales, float_type=None)
        return replace(rounded, corrections=corrections) if correct_biases else rounded

    def _shared(self, round_weights: bool, correct_biases: bool) -> _Shared:
        core, shared, read = self._network.core, _Shared(), {}
        for weight in rounded_weights(core, self._placement) if round_weights else []:
            shared.setdefault(weight.inputs, _Together()).weights.append(weight)
            read[weight.name] = weight.inputs
        for layer in corrected_layers(core, self._placement) if correct_biases else []:
            shared.setdefault(read.get(layer.weight, (layer.input,)), _Together()).layers.append(layer)
        return shared

    def _held(self, inputs: Sequence[LayerInput], together: _Together) -> int:
        """Bytes of the inputs' covariance or of one image's tensors: summed over a run, no less than either's sum."""
        return max(together.size(), image_bytes(self._network.core, [each.tensor for each in inputs], 0))

    def _gather(
        self, shared: _Shared, name: str
    ) -> tuple[dict[tuple[LayerInput, ...], Moments], dict[LayerInput, InputMeans]]:
        """Run the images through the float network and count what the layers in ``shared`` read."""
        moments = {inputs: Moments(*each.weights[0].columns) for inputs, each in shared.items() if each.weights}
        means = {layer.input: InputMeans() for each in shared.values() for layer in each.layers}
        counted = [each for inputs in moments for each in inputs]
        for seen in self._look(counted, list(means), name):
            for inputs, found in moments.items():
                for each in inputs:
                    found.update(seen.rows[each])
            for each, kept in means.items():
                kept.update(*seen.means[each])
        return moments, means

    def _look(self, counted: Sequence[LayerInput], averaged: Sequence[LayerInput], name: str) -> Iterator[_Seen]:
        """Run the images, several at once, and give what each batch tells, in order."""
        tensors = list(dict.fromkeys(each.tensor for each in (*counted, *averaged)))
        plan = effort(self._network, min(len(self._images), _IMAGES))
        runner = GraphRunner(*observing(self._network.core, tensors), threads=plan.threads)
        release_memory()  # of the serialised graph
        grids = {tensor: written_grid(self._scales, tensor, self._placement) for tensor in tensors}
        positions = -(-_ROWS // min(len(self._images), _IMAGES))  # fewer images give more positions each

        def look(given: tuple[_Float32, int, int]) -> tuple[_Seen, int, int]:
            batch, seen, total = given
            values = dict(zip(tensors, runner(batch), strict=True))
            errors = {tensor: grids[tensor].errors(found) for tensor, found in values.items()}
            first = seen - len(batch)
            rows, means = {}, {}
            for each in counted:  # of the quantized input
                rows[each] = each.rows(values[each.tensor], positions, first)
                rows[each] += each.rows(errors[each.tensor], positions, first)
            for each in averaged:
                means[each] = each.means(values[each.tensor]), each.means(errors[each.tensor])
            return _Seen(rows, means), seen, total

        batches = few_batches(self._network, self._images, _IMAGES, skip_bad=self._skip_bad)
        for found, seen, total in run_ahead(look, batches, plan.workers, threads=plan.threads):
            yield found
            self._progress(name, seen, total)

    def _round(self, weights: list[RoundedWeight], moments: Moments | None, *, centred: bool) -> Mapping[str, str]:
        if moments is None:
            return {}
        rounder = Rounder(moments, centred=centred)
        return {weight.name: pack_deltas(self._deltas(weight, rounder)) for weight in weights}

    def _deltas(self, weight: RoundedWeight, rounder: Rounder) -> npt.NDArray[np.int8]:
        array = self._constant(weight.name)
        nearest, steps = nearest_weight(array, weight.axis, self._scales, self._placement)
        matrix = weight.matrix(array.astype(np.float64))
        found = rounder.deltas(
            matrix,
            weight.matrix(nearest),
            steps.astype(np.float64).reshape(matrix.shape[:2]),
            limit=self._placement.weight_limit,
        )
        return weight.unmatrix(found)

    def _correct(
        self, layers: list[CorrectedLayer], rounding: Mapping[str, str], means: Mapping[LayerInput, InputMeans]
    ) -> dict[str, tuple[float, ...]]:
        learned = replace(self._scales, rounding=rounding)
        found = {}
        for layer in layers:
            array = self._constant(layer.weight)
            integers, steps = written_weight(layer.weight, array, layer.axis, learned, self._placement)
            weight = as_matrix(array.astype(np.float64), layer.axis, layer.input.groups)
            written = as_matrix(integers.astype(np.float64), layer.axis, layer.input.groups)
            written *= steps.astype(np.float64).reshape(*weight.shape[:2], 1)
            errors = means[layer.input].output_errors(weight, written)
            if len(errors) > 1:  # one image tells nothing of its noise
                found[layer.name] = correction(errors)
        return found

    def _constant(self, name: str) -> npt.NDArray[np.float32]:
        constant = self._network.core.graph.initializers[name].const_value
        assert constant is not None
        array: npt.NDArray[np.float32] = constant.numpy()
        return array
