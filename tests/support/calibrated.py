"""Ranges of tiny graphs, from random pictures run through ONNX Runtime."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from resnest_edge.calibration.collect import collect
from resnest_edge.calibration.scales import Scales
from resnest_edge.graph.model import digest
from resnest_edge.quantize.insertion import activation_tensors
from resnest_edge.quantize.placement import Placement
from tests.support.onnx_run import run_ort
from tests.support.tiny import IMAGE_SIZE, Tiny


@cache
def pictures(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Normalised pictures (count, 3, S, S): each of its own colour and contrast, so that their logits differ."""
    generator = np.random.default_rng(seed)
    colour, contrast = generator.standard_normal((count, 3, 1, 1)), generator.uniform(0.2, 1.5, (count, 1, 1, 1))
    noise = generator.standard_normal((count, 3, IMAGE_SIZE, IMAGE_SIZE))
    return (colour + contrast * noise).astype(np.float32)


def calibrate(
    core: ir.Model, placement: Placement, images: npt.NDArray[Any] | None = None, method: str = "max"
) -> Scales:
    """Ranges of every tensor that the placement quantizes, over 16 pictures unless others are given."""
    images = pictures(16) if images is None else images
    tensors = activation_tensors(core, placement)
    batch = (images, [str(index) for index in range(len(images))])
    statistics = collect(
        lambda batch: run_ort(core, batch, tensors), [batch], graph_digest=digest(core), tensors=tensors
    )
    return statistics.scales(method, placement.style)


@cache
def tiny_scales(tiny: Tiny, placement: Placement) -> Scales:
    """The same, once a session for a tiny network."""
    return calibrate(tiny.core, placement)
