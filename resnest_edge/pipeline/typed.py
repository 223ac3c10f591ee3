"""Core graph to typed graph: calibrated once, then written in each precision a target asks for."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from resnest_edge import environment
from resnest_edge.backends.onnxruntime import GraphRunner
from resnest_edge.calibration.collect import Statistics, collect
from resnest_edge.calibration.scales import Scales
from resnest_edge.errors import UsageError
from resnest_edge.graph.float_types import convert_floats
from resnest_edge.graph.folding import NORMALISED, fold_interface
from resnest_edge.graph.model import INPUT, digest, to_bytes, weighted_nodes
from resnest_edge.graph.shapes import with_shape
from resnest_edge.images import ImageSet, iter_batches, normalise
from resnest_edge.pipeline.effort import Effort, groups_within, image_bytes, plan_effort, release_memory
from resnest_edge.pipeline.pictures import spread
from resnest_edge.pipeline.progress import Progress
from resnest_edge.quantize.bias import shift_biases
from resnest_edge.quantize.insertion import activation_tensors, quantize_graph, quantized_layers
from resnest_edge.quantize.placement import WEIGHTED, WIDEST, Placement
from resnest_edge.spec import BatchRange, Form, GraphInfo, InputFormat, Precision, Preprocessing

if TYPE_CHECKING:
    from resnest_edge.models.normalisation import Remembered

_OBSERVED_BYTES = 768 << 20  # of one image's tensors, held at once


@dataclass(frozen=True)
class TypedGraph:
    """A graph whose precision is written in it, with the engine's interface.

    Attributes:
        model: input ``images``, outputs ``logits`` and ``probabilities``.
        info: what it is.
        layers: precision of every weighted layer.
    """

    model: ir.Model
    info: GraphInfo
    layers: dict[str, str]


@dataclass(frozen=True)
class Network:
    """A core graph and what its typed graphs have in common.

    Attributes:
        name: variant or model name.
        core: the FP32 core graph, of dynamic batch unless ``only_batch`` is set.
        preprocessing: how pictures become its input.
        num_classes: length of its logits.
        batch: batch sizes the typed graphs are to accept.
        form: inference form, for a ResNeSt.
        input_format: what the typed graphs' input takes.
        only_batch: the batch a foreign model was exported with, where that is fixed.
        remembered: looks up what is left of the training images in it; None for a foreign model.
    """

    name: str
    core: ir.Model
    preprocessing: Preprocessing
    num_classes: int
    batch: BatchRange
    form: Form | None
    input_format: InputFormat
    only_batch: int | None = None
    remembered: Callable[[], Remembered] | None = None


def write_typed(network: Network, precision: Precision, placement: Placement, scales: Scales | None) -> TypedGraph:
    """Write the typed graph of one precision.

    Args:
        network: the FP32 core and its interface.
        precision: what was asked for.
        placement: what the target wants, for INT8.
        scales: calibrated on this core, for INT8.

    Raises:
        UsageError: INT8 without scales.
        ScalesError: scales of another graph or style.
    """
    if precision is Precision.INT8:
        if scales is None:
            raise UsageError("INT8 needs calibration images or scales", hint="Give --images or --scales.")
        scales.check_graph(digest(network.core), placement.style, placement.weight_bits, placement.float_type)
        shifted = shift_biases(network.core, quantized_corrections(scales, placement))
        core, float_type = quantize_graph(shifted, scales, placement), placement.float_type
    else:
        core, float_type = convert_floats(network.core, precision), precision
    shaped = with_shape(core, network.batch, network.preprocessing.image_size)
    model = fold_interface(shaped, network.preprocessing, input_format=network.input_format, float_type=float_type)
    quantized = set(quantized_layers(core))
    layers = {
        node.name or "": "int8" if node.name in quantized else float_type.value
        for node, _ in weighted_nodes(network.core.graph, WEIGHTED)
    }
    info = GraphInfo(
        name=network.name,
        precision=precision,
        float_type=float_type,
        style=placement.style if precision is Precision.INT8 else None,
        weight_bits=placement.weight_bits,
        input_format=network.input_format,
        batch=network.batch,
        image_size=network.preprocessing.image_size,
        num_classes=network.num_classes,
        form=network.form,
    )
    return TypedGraph(model, info, layers)


def quantized_corrections(scales: Scales, placement: Placement) -> dict[str, tuple[float, ...]]:
    """The bias corrections of the layers that a placement quantizes."""
    return {layer: shift for layer, shift in scales.corrections.items() if layer not in placement.keep_float}


def calibrate(
    network: Network, placements: Sequence[Placement], images: ImageSet, *, skip_bad: bool, progress: Progress
) -> tuple[Statistics, tuple[str, ...]]:
    """Run the calibration images through the FP32 graph, for every placement that will be written from it.

    They run once, or as often as one image's tensors (of known size) make up 768 MiB: those of ResNeSt-269 at 416
    pixels take 1,263.

    Returns:
        The statistics, and the names of bad pictures that were left out (none unless ``skip_bad``).
    """
    tensors = list(dict.fromkeys(name for place in placements for name in activation_tensors(network.core, place)))
    # Always asked for the same tensors, ONNX Runtime always fuses the same way: the ranges of a tensor are the same to
    # the last bit whatever else is built beside it.
    asked = list(dict.fromkeys([*activation_tensors(network.core, WIDEST), *tensors]))
    statistics = Statistics(digest(network.core), tensors)
    skipped: list[str] = []
    parts = groups_within({name: image_bytes(network.core, [name], 0) for name in asked}, _OBSERVED_BYTES)
    for number, part in enumerate(parts):
        skipped = []
        name = "calibrate" if len(parts) == 1 else f"calibrate, part {number + 1} of {len(parts)}"
        statistics.include(_observe(network, part, set(tensors), images, skip_bad, skipped, partial(progress, name)))
    return statistics, tuple(skipped)


def _observe(
    network: Network,
    asked: Sequence[str],
    wanted: Container[str],
    images: ImageSet,
    skip_bad: bool,
    skipped: list[str],
    progress: Callable[[int, int], None],
) -> Statistics:
    """Ask for some tensors and count those of them that are wanted."""
    plan = effort(network, len(images))
    runner = _observing_runner(network, asked, plan.threads)
    kept = [(index, name) for index, name in enumerate(asked) if name in wanted]

    def run(images: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        outputs = runner(images)
        return [outputs[index] for index, _ in kept]

    return collect(
        run,
        _calibration_batches(network, images, plan.batch, skip_bad, skipped),
        graph_digest=digest(network.core),
        tensors=[name for _, name in kept],
        workers=plan.workers,
        on_counted=lambda done: progress(done, len(images)),
    )


def few_batches(
    network: Network, images: ImageSet, count: int, *, skip_bad: bool
) -> Iterator[tuple[npt.NDArray[np.float32], int, int]]:
    """Batches of the core graph's input from a few images, spread evenly; of a fixed batch, only whole ones.

    Yields:
        (n, 3, H, W) normalised float32; images so far, this batch's included; images in all.
    """
    few = spread(images, count, network.only_batch or 1)
    size = effort(network, len(few)).batch
    seen = 0
    for batch in iter_batches(few, network.preprocessing, size, skip_bad=skip_bad):
        if len(batch.images) == size or network.only_batch is None:
            seen += len(batch.images)
            yield normalise(batch.images.astype(np.uint8, copy=False), network.preprocessing), seen, len(few)


def effort(network: Network, images: int) -> Effort:
    """How to run images. Always that of the widest placement, so that batches do not depend on what is built beside."""
    tensors, cores = activation_tensors(network.core, WIDEST), environment.usable_cores()
    return plan_effort(network.core, tensors, only_batch=network.only_batch, images=images, cores=cores)


def _observing_runner(network: Network, tensors: Sequence[str], threads: int) -> GraphRunner:
    """The FP32 graph with uint8 input, giving every tensor that is to be observed."""
    model = fold_interface(network.core, network.preprocessing)
    values = {value.name: value for node in model.graph for value in node.outputs}
    names = [NORMALISED if name == INPUT else name for name in tensors]
    model.graph.outputs.clear()
    model.graph.outputs.extend(values[name] for name in names)
    runner = GraphRunner(to_bytes(model), names, threads=threads)
    release_memory()  # of the serialised graph
    return runner


def _calibration_batches(
    network: Network, images: ImageSet, size: int, skip_bad: bool, skipped: list[str]
) -> Iterator[tuple[npt.NDArray[Any], list[str]]]:
    for batch in iter_batches(images, network.preprocessing, size, skip_bad=skip_bad):
        skipped.extend(batch.skipped)
        if len(batch.images) < size and network.only_batch is not None:
            raise UsageError(
                f"{len(images)} calibration images do not fill batches of {size}, the model's only batch",
                hint=f"Use a multiple of {size} with --calib-images, or export the model with a dynamic batch.",
            )
        yield batch.images, [images.digest(int(index)) for index in batch.indices]
