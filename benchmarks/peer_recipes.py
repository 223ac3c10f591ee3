"""How others would turn the trained network into an engine: one recipe a peer, at that tool's own defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from benchmarks.peer_sessions import write_peer
from resnest_edge.graph.export import export_graph
from resnest_edge.graph.folding import fold_interface
from resnest_edge.graph.model import INPUT, save_graph, to_bytes
from resnest_edge.graph.shapes import with_shape
from resnest_edge.graph.simplify import simplify_graph
from resnest_edge.images import iter_batches, normalise
from resnest_edge.models.config import cost_of
from resnest_edge.models.resnest import ResNeSt
from resnest_edge.models.variants import find_variant
from resnest_edge.pipeline.core import ANY_BATCH
from resnest_edge.pipeline.networks import open_network
from resnest_edge.pipeline.pictures import open_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.progress import silent
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Precision, Preprocessing

BATCH = BatchRange(1, 1, 64)
"""Batch sizes that every engine takes, ours and others'."""


@dataclass(frozen=True)
class Trained:
    """The network as others get it.

    Attributes:
        name: of the variant.
        load: the training form, in evaluation mode.
        preprocessing: how its pictures are prepared.
        num_classes: length of its logits.
        request: what it was asked for; its images calibrate.
        core: exported as trained and simplified, FP32, of dynamic batch.
        macs: multiply-accumulates of the network as trained, for one image.
    """

    name: str
    load: Callable[[], ResNeSt]
    preprocessing: Preprocessing
    num_classes: int
    request: BuildRequest
    core: ir.Model
    macs: int

    def info(self, precision: Precision) -> GraphInfo:
        """What an engine of it takes."""
        side, classes = self.preprocessing.image_size, self.num_classes
        format_ = InputFormat.UINT8_NHWC
        return GraphInfo(self.name, precision, precision, None, 8, format_, BATCH, side, classes)

    def inputs(self) -> Iterator[npt.NDArray[np.float32]]:
        """(1, 3, S, S) normalised calibration pictures."""
        pictures = open_pictures(str(self.request.images), None)
        for batch in iter_batches(pictures, self.preprocessing, 1):
            yield normalise(batch.images.astype(np.uint8, copy=False), self.preprocessing)


@dataclass(frozen=True)
class Peer:
    """One engine of others.

    Attributes:
        name: for the table.
        runtime: what runs it.
        make: writes it into a folder.
    """

    name: str
    runtime: str
    make: Callable[[Trained, Path], Any]


def peers() -> Iterator[Peer]:
    """Every peer, slowest kind first."""
    yield Peer("PyTorch eager", "torch", partial(_torch, kind="torch"))
    yield Peer("PyTorch torch.compile", "torch", partial(_torch, kind="torch.compile"))
    yield Peer("ONNX Runtime FP32", "onnxruntime", _onnxruntime)
    yield Peer("ONNX Runtime static INT8", "onnxruntime", _onnxruntime_int8)
    yield Peer("OpenVINO FP32", "openvino", partial(_openvino, precision=Precision.FP32))
    yield Peer("OpenVINO BF16", "openvino", partial(_openvino, precision=Precision.BF16))
    yield Peer("NNCF INT8 (default), OpenVINO", "openvino", partial(_nncf, preset=None))
    yield Peer("NNCF INT8 (MIXED), OpenVINO", "openvino", partial(_nncf, preset="MIXED"))
    yield Peer("ModelOpt ONNX INT8, ONNX Runtime", "onnxruntime", _modelopt)


def describe_network(request: BuildRequest) -> Trained:
    """Open the network, and export it as others would: the training form, nothing rewritten."""
    network = open_network(request.what, request.weights, request.num_classes, silent)
    preprocessing = request.choice.over(network.preprocessing)
    side = preprocessing.image_size
    exported = export_graph(network.load().eval(), image_size=side, batch=ANY_BATCH)
    core = simplify_graph(exported)
    macs = cost_of(find_variant(network.name).config, side).macs
    return Trained(network.name, network.load, preprocessing, network.num_classes, request, core, macs)


def _folded(network: Trained, core: ir.Model, out: Path) -> Path:
    """Put the interface of raw frames around a core graph, as around our own."""
    shaped = with_shape(core, BATCH, network.preprocessing.image_size)
    save_graph(fold_interface(shaped, network.preprocessing), out / "model.onnx")
    return out / "model.onnx"


def _torch(network: Trained, out: Path, kind: str) -> None:
    write_peer(
        out,
        kind,
        "",
        network.info(Precision.FP32),
        what=network.request.what,
        weights=network.request.weights,
        num_classes=network.request.num_classes,
        preprocessing=network.preprocessing.to_json(),
    )


def _onnxruntime(network: Trained, out: Path) -> None:
    _folded(network, network.core, out)
    write_peer(out, "onnxruntime", "model.onnx", network.info(Precision.FP32))


def _onnxruntime_int8(network: Trained, out: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the library ships no types
        def __init__(self) -> None:
            self._left = network.inputs()

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            pixels = next(self._left, None)
            return None if pixels is None else {INPUT: pixels}

    source, prepared, quantized = (out / name for name in ("fp32.onnx", "prepared.onnx", "int8.onnx"))
    save_graph(network.core, source)
    quant_pre_process(str(source), str(prepared))
    quantize_static(
        str(prepared),
        str(quantized),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
    )
    _folded(network, ir.from_proto(onnx.load(quantized)), out)
    write_peer(out, "onnxruntime", "model.onnx", network.info(Precision.INT8))


def _openvino(network: Trained, out: Path, precision: Precision) -> None:
    _folded(network, network.core, out)
    write_peer(out, "openvino", "model.onnx", network.info(precision))


def _nncf(network: Trained, out: Path, preset: str | None) -> None:
    import nncf
    import openvino

    folded = openvino.Core().read_model(_folded(network, network.core, out))
    pictures = open_pictures(str(network.request.images), None)
    frames = [batch.images.astype(np.uint8) for batch in iter_batches(pictures, network.preprocessing, 1)]
    chosen = None if preset is None else getattr(nncf.QuantizationPreset, preset)
    quantized = nncf.quantize(folded, nncf.Dataset(frames), preset=chosen, subset_size=len(frames))
    openvino.save_model(quantized, out / "int8.xml", compress_to_fp16=False)
    write_peer(out, "openvino", "int8.xml", network.info(Precision.FP32))


def _modelopt(network: Trained, out: Path) -> None:
    from modelopt.onnx.quantization import quantize

    source = out / "fp32.onnx"
    source.write_bytes(to_bytes(network.core))
    calibration = np.concatenate(list(network.inputs()))
    quantize(str(source), calibration_data=calibration, quantize_mode="int8", output_path=str(out / "int8.onnx"))
    _folded(network, ir.from_proto(onnx.load(out / "int8.onnx")), out)
    write_peer(out, "onnxruntime", "model.onnx", network.info(Precision.INT8))
