"""Typed graphs of tiny networks, written as the pipeline writes them, with made-up ranges."""

from __future__ import annotations

from functools import lru_cache

import onnx_ir as ir

from resnest_edge.backends.tensorrt.placement import PLACEMENT_INT8
from resnest_edge.calibration.scales import Scales, TensorRange
from resnest_edge.graph.model import digest
from resnest_edge.models.checkpoint import untrained_network
from resnest_edge.models.variants import VARIANTS
from resnest_edge.pipeline.core import export_core
from resnest_edge.pipeline.typed import Network, TypedGraph, write_typed
from resnest_edge.quantize.insertion import activation_tensors
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import BatchRange, Form, InputFormat, Precision, Preprocessing
from tests.support.tiny import CLASSES, IMAGE_SIZE, tiny_core

VARIANT_SIDE, VARIANT_CLASSES = 64, 10


def typed_graph(
    precision: Precision,
    radix: int = 2,
    cardinality: int = 1,
    form: Form = Form.SPLIT,
    *,
    batch: str = "1:2:8",
    input_format: InputFormat = InputFormat.UINT8_NHWC,
    placement: Placement = PLACEMENT_INT8,
) -> TypedGraph:
    """The typed graph of one tiny network; every activation's range is [0, 3], as after a ReLU."""
    core = tiny_core(radix, cardinality, form).core
    network = Network(
        name=f"tiny-{radix}s{cardinality}x-{form}",
        core=core,
        preprocessing=Preprocessing(image_size=IMAGE_SIZE, resize=IMAGE_SIZE),
        num_classes=CLASSES,
        batch=BatchRange.parse(batch),
        form=form,
        input_format=input_format,
    )
    return write_typed(network, precision, placement, made_up_scales(core, placement))


@lru_cache(maxsize=1)  # one at a time: the largest has 110 million weights
def variant_network(name: str) -> Network:
    """A variant with random weights, exported once; pictures of 64 pixels, since layers do not depend on the size."""
    return Network(
        name=name,
        core=export_core(untrained_network(VARIANTS[name].config, VARIANT_CLASSES), Form.SPLIT, VARIANT_SIDE),
        preprocessing=Preprocessing(image_size=VARIANT_SIDE, resize=VARIANT_SIDE),
        num_classes=VARIANT_CLASSES,
        batch=BatchRange(1, 2, 8),
        form=Form.SPLIT,
        input_format=InputFormat.UINT8_NHWC,
    )


def made_up_scales(core: ir.Model, placement: Placement) -> Scales:
    """Ranges for every activation of a core graph, without a picture."""
    ranges = {name: TensorRange(0.0, 3.0, 0.0, 3.0) for name in activation_tensors(core, placement)}
    return Scales(digest(core), "no images", 1, "max", placement.style, ranges)
