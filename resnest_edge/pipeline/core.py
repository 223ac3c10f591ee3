"""Checkpoint to core graph: inference form, export, simplify, and the parity check that always runs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch

from resnest_edge.backends.onnxruntime import GraphRunner
from resnest_edge.errors import ParityError
from resnest_edge.graph.export import export_graph
from resnest_edge.graph.model import LOGITS, to_bytes
from resnest_edge.graph.parity import check_parity
from resnest_edge.graph.shapes import with_shape
from resnest_edge.graph.simplify import simplify_graph
from resnest_edge.models.inference_form import to_inference_form
from resnest_edge.models.resnest import ResNeSt
from resnest_edge.spec import MOST_BATCH, BatchRange, Form

ANY_BATCH = BatchRange(1, 1, MOST_BATCH)
"""A core graph takes every batch; the typed graph narrows it, so scales do not depend on the batch asked for."""

_PARITY_IMAGES = 4
_FORM_PIXELS = 64  # forms are equal at every size; where maps are small, most of each is border
_FORM_TOLERANCE = 1e-9


def export_core(network: ResNeSt, form: Form, image_size: int) -> ir.Model:
    """Export one network in one inference form, and compare its logits with the training form's in PyTorch.

    Returns:
        The FP32 core graph, of dynamic batch.

    Raises:
        ParityError: the logits differ by more than rounding.
        GraphError: the network cannot be exported or simplified.
    """
    network.eval()
    exported = export_graph(to_inference_form(network, form), image_size=image_size, batch=ANY_BATCH)
    core = simplify_graph(exported)
    images = _noise(_PARITY_IMAGES, image_size)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    check_parity(expected, _logits(core, images), what="exported graph against PyTorch")
    return core


def check_form(network: ResNeSt, form: Form) -> None:
    """Hold an inference form to its network in float64, where a wrong term cannot pass for rounding.

    Args:
        network: converted to float64 in place.
        form: the form.

    Raises:
        ParityError: the logits differ by more than float64 rounds.
    """
    network.double().eval()
    images = torch.from_numpy(_noise(1, _FORM_PIXELS)).double()
    with torch.inference_mode():
        expected, found = network(images), to_inference_form(network, form)(images)
    apart = float((found - expected).abs().max() / expected.std())
    if not apart <= _FORM_TOLERANCE:
        raise ParityError(
            f"the {form} form is {apart:.1e} standard deviations of the logits away from the network, in float64",
            hint="This is a bug in resnest-edge: please report it with the variant and the form.",
        )


def simplify_foreign(core: ir.Model, batch: int | None, image_size: int) -> ir.Model:
    """Simplify an adopted classifier for one image size, and compare its logits with the model as it was given.

    Args:
        core: the adopted classifier.
        batch: the batch it was exported with, or None when that is dynamic.
        image_size: side of the square input, pixels.

    Raises:
        ParityError: the logits differ by more than rounding.
        GraphError: the model does not run at this image size or with a dynamic batch.
    """
    shaped = with_shape(core, ANY_BATCH if batch is None else BatchRange(batch, batch, batch), image_size)
    simplified = simplify_graph(shaped)
    images = _noise(batch or _PARITY_IMAGES, image_size)
    check_parity(_logits(core, images), _logits(simplified, images), what="simplified graph against the model given")
    return simplified


def _logits(model: ir.Model, images: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> np.ndarray:
    return GraphRunner(to_bytes(model), [LOGITS])(images)[0]


def _noise(count: int, image_size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """White noise of unit variance, as normalised images have."""
    return np.random.default_rng(0).standard_normal((count, 3, image_size, image_size), np.float32)
