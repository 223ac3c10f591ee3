"""The yardstick of the GPU tests, tried on CPU engines: it passes what is right and fails what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resnest_edge.backends.base import BuildOptions, Outputs, SessionOptions
from resnest_edge.backends.onnxruntime import ONNXRuntimeBackend
from resnest_edge.graph.model import save_graph
from resnest_edge.spec import Form, Precision
from tests.gpu.comparison import FLOORS_DB, check_against, pictures, reference_answers, reference_graph

CASES = [(Precision.FP32, Form.SPLIT), (Precision.INT8, Form.SPLIT)]


@pytest.mark.parametrize(("precision", "form"), CASES, ids=str)
def test_onnx_runtimes_own_engine_passes(precision: Precision, form: Form, tmp_path: Path) -> None:
    reference = reference_graph(precision, 2, 1, form)
    save_graph(reference.model, tmp_path / "model.onnx")
    backend = ONNXRuntimeBackend()
    built = backend.build(tmp_path / "model.onnx", reference.info, BuildOptions(), tmp_path)
    options = SessionOptions(batch=2, threads=1)
    with backend.load(tmp_path / built.files[0], reference.info, options, built.details) as session:
        check_against(session, reference, pictures(5), FLOORS_DB[precision])


def test_a_small_error_fails() -> None:
    reference = reference_graph(Precision.FP32, 2, 1, Form.SPLIT)
    images = pictures(3)
    answer = reference_answers(reference, images)

    class Wrong:
        def run(self, _: object) -> Outputs:
            return Outputs(answer.logits * np.float32(1.01), answer.probabilities)

    with pytest.raises(AssertionError, match=r"40\.0 dB"):
        check_against(Wrong(), reference, images, FLOORS_DB[Precision.FP32])  # type: ignore[arg-type]  # no session
    check_against(Wrong(), reference, images, 39.9)  # type: ignore[arg-type]
