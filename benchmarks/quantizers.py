"""The quantizers that `benchmarks.accuracy` compares: each takes the same FP32 core graph to a Q/DQ graph.

Each is called the way its own documentation shows, at its defaults but for what makes it comparable: weights per output
channel, the same calibration images where its calibrator can hold them, and float32 around the Q/DQ.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from benchmarks.quantizer_report import tell
from resnest_edge.calibration.ranges import AUTO, METHODS
from resnest_edge.graph.model import INPUT, LOGITS, save_graph, to_bytes
from resnest_edge.images import ImageSet, iter_batches, normalise
from resnest_edge.pipeline.learning import Learning, learn
from resnest_edge.pipeline.pictures import spread
from resnest_edge.pipeline.typed import Network, calibrate
from resnest_edge.quantize.bias import shift_biases
from resnest_edge.quantize.insertion import quantize_graph
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import QdqStyle

HISTOGRAM_IMAGES = 32
"""ONNX Runtime's entropy and percentile calibrators keep every activation of every image in memory."""
MAX_DROP = 0.2
"""Points of top-1 that NNCF's accuracy control is to hold."""

_Feed = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Task:
    """What a quantizer is given.

    Attributes:
        network: the FP32 core.
        calibration: pictures that calibrate.
        validation: labelled pictures for those that steer by accuracy; neither calibration nor evaluation holds them.
    """

    network: Network
    calibration: ImageSet
    validation: ImageSet

    def feeds(self, images: ImageSet) -> Iterator[_Feed]:
        """Normalised pictures, one a batch."""
        for batch in iter_batches(images, self.network.preprocessing, 1):
            yield {INPUT: normalise(batch.images.astype(np.uint8, copy=False), self.network.preprocessing)}


Quantizer = Callable[[Task], bytes]


@dataclass(frozen=True)
class Candidate:
    """One quantizer.

    Attributes:
        name: for the table.
        quantize: the task to a serialised Q/DQ graph.
        images: how many it can calibrate on; None means all.
        ours: whether it is this project's.
    """

    name: str
    quantize: Quantizer
    images: int | None = None
    ours: bool = False


def candidates() -> list[Candidate]:
    """Everybody: our default in each style, the others, and our other methods."""
    default, *rest = (
        Learning(),
        Learning(round_weights=False),
        *(Learning(method) for method in (*METHODS, AUTO) if method != Learning().method),
    )
    static = [
        Candidate(f"ONNX Runtime static, {method}, {kind}", partial(_onnxruntime, kind=kind, method=method), count)
        for method, count in (("MinMax", None), ("Percentile", HISTOGRAM_IMAGES), ("Entropy", HISTOGRAM_IMAGES))
        for kind in ("uint8", "int8")
    ]
    nncf = [Candidate(f"NNCF, {preset}", partial(_nncf, preset=preset)) for preset in ("MIXED", "PERFORMANCE")]
    control = Candidate(f"NNCF with accuracy control, {MAX_DROP} points", _nncf_accuracy_control)
    modelopt = [Candidate(f"ModelOpt, {method}", partial(_modelopt, method=method)) for method in ("entropy", "max")]
    return [*_styles(default), *static, *nncf, control, *modelopt, *chain(*map(_styles, rest))]


def _styles(how: Learning) -> list[Candidate]:
    """Ours, in both styles; named by what is not the default."""
    words = f"resnest-edge, {how.method}{'' if how.round_weights else ' without rounding'}"
    styles = (QdqStyle.CPU, QdqStyle.PORTABLE)
    return [Candidate(f"{words}, {style}", partial(_ours, style=style, how=how), ours=True) for style in styles]


def _ours(task: Task, style: QdqStyle, how: Learning) -> bytes:
    network, images, placement = task.network, task.calibration, Placement(style)
    statistics, _ = calibrate(network, [placement], images, skip_bad=False, progress=tell)
    scales = learn(network, statistics, placement, images, how, skip_bad=False, progress=tell)
    return to_bytes(quantize_graph(shift_biases(network.core, scales.corrections), scales, placement))


def _onnxruntime(task: Task, kind: str, method: str) -> bytes:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    images = task.calibration if method == "MinMax" else spread(task.calibration, HISTOGRAM_IMAGES)

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the library ships no types
        def __init__(self) -> None:
            self._left = task.feeds(images)

        def get_next(self) -> _Feed | None:
            return next(self._left, None)

    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        save_graph(task.network.core, source)
        quantize_static(
            str(source),
            str(out),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8 if kind == "uint8" else QuantType.QInt8,
            calibrate_method=getattr(CalibrationMethod, method),
            extra_options={} if kind == "uint8" else {"ActivationSymmetric": True},
        )
        return out.read_bytes()


def _nncf(task: Task, preset: str) -> bytes:
    import nncf

    model: onnx.ModelProto = ir.to_proto(task.network.core)
    chosen = getattr(nncf.QuantizationPreset, preset)
    count = len(task.calibration)
    result = nncf.quantize(model, _dataset(task, task.calibration), preset=chosen, subset_size=count)
    data: bytes = result.SerializeToString()
    return data


def _nncf_accuracy_control(task: Task) -> bytes:
    import nncf
    import onnxruntime

    labels = [task.validation.label(index) for index in range(len(task.validation))]

    def top1(model: onnx.ModelProto, data: Iterable[tuple[int, _Feed]]) -> tuple[float, list[float]]:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        hits = [float(session.run([LOGITS], feed)[0].argmax() == labels[index]) for index, feed in data]
        return sum(hits) / len(hits), hits

    result = nncf.quantize_with_accuracy_control(
        ir.to_proto(task.network.core),
        calibration_dataset=_dataset(task, task.calibration),
        validation_dataset=nncf.Dataset(_Again(lambda: enumerate(task.feeds(task.validation)))),
        validation_fn=top1,
        max_drop=MAX_DROP / 100,
        subset_size=len(task.calibration),
    )
    data: bytes = result.SerializeToString()
    return data


def _dataset(task: Task, images: ImageSet) -> Any:
    import nncf

    return nncf.Dataset(_Again(lambda: task.feeds(images)))


class _Again:
    """What NNCF reads several times, made anew each time, so that the pictures need not stay in memory."""

    def __init__(self, begin: Callable[[], Iterator[Any]]) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[Any]:
        return self._begin()


def _modelopt(task: Task, method: str) -> bytes:
    from modelopt.onnx.quantization import quantize

    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        save_graph(task.network.core, source)
        quantize(
            str(source),
            quantize_mode="int8",
            calibration_data=np.concatenate([feed[INPUT] for feed in task.feeds(task.calibration)]),
            calibration_method=method,
            calibration_eps=["cpu"],
            high_precision_dtype="fp32",
            output_path=str(out),
            log_level="WARNING",
        )
        return out.read_bytes()
