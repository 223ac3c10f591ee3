"""What an engine on a GPU is compared with: ONNX Runtime on the CPU, with the same graph or its FP32 form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.base import Outputs, Session
from resnest_edge.backends.tensorrt.placement import PLACEMENT_INT8
from resnest_edge.pipeline.typed import TypedGraph
from resnest_edge.spec import Form, InputFormat, Precision
from tests.backends.typed_graphs import typed_graph
from tests.support.onnx_run import run_ort
from tests.support.tiny import IMAGE_SIZE

FLOORS_DB = {Precision.FP32: 80.0, Precision.FP16: 40.0, Precision.BF16: 25.0, Precision.INT8: 15.0}
"""Least logit SQNR against ONNX Runtime.

One rounding to p bits of significand gives about 6·p dB: FP32 24 bits, FP16 11, BF16 8; the floors leave room for sums
of some hundred roundings. INT8 is compared with the same Q/DQ graph between FP32: where FP16 around it moves a value
over a rounding edge it is off by a whole step, so its floor is that of two 8-bit engines, not of one number format.
"""


def reference_graph(precision: Precision, radix: int, cardinality: int, form: Form) -> TypedGraph:
    """The graph whose answers count: FP32, or for INT8 the same scales with FP32 between them."""
    if precision is not Precision.INT8:
        return typed_graph(Precision.FP32, radix, cardinality, form)
    return typed_graph(
        precision, radix, cardinality, form, placement=replace(PLACEMENT_INT8, float_type=Precision.FP32)
    )


def reference_answers(reference: TypedGraph, images: npt.NDArray[Any]) -> Outputs:
    """What ONNX Runtime answers, on one CPU thread."""
    return Outputs(*run_ort(reference.model, images))


def pictures(count: int, input_format: InputFormat = InputFormat.UINT8_NHWC, seed: int = 0) -> npt.NDArray[Any]:
    """Noise of the tiny networks' size."""
    noise = np.random.default_rng(seed).integers(0, 256, (count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    if input_format is InputFormat.UINT8_NHWC:
        return noise
    return np.ascontiguousarray(noise.transpose(0, 3, 1, 2), np.float32)


def check_against(session: Session, reference: TypedGraph, images: npt.NDArray[Any], floor_db: float) -> None:
    """The session's answers are ONNX Runtime's, up to ``floor_db`` and to near ties for the first class."""
    wanted, given = reference_answers(reference, images), session.run(images)
    noise = np.square(wanted.logits - given.logits).sum()
    sqnr_db = 10 * np.log10(np.square(wanted.logits).sum() / max(noise, 1e-30))
    assert sqnr_db >= floor_db, f"{sqnr_db:.1f} dB of logit SQNR, at least {floor_db} expected"
    assert np.allclose(given.probabilities.sum(axis=1), 1.0, atol=1e-2)  # FP16 sums of seven
    error = np.abs(wanted.logits - given.logits).max(axis=1)
    ordered = np.sort(wanted.logits, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 2 * error  # else either of the two may come first
    assert np.array_equal(wanted.logits.argmax(axis=1)[clear], given.logits.argmax(axis=1)[clear])
