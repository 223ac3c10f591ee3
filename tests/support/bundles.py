"""A bundle whose engine is no engine: for whatever happens before one is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from resnest_edge.bundle import Manifest, write_bundle
from resnest_edge.spec import BatchRange, Form, GraphInfo, InputFormat, Precision, Preprocessing, QdqStyle, Target

INFO = GraphInfo(
    name="resnest50",
    precision=Precision.INT8,
    float_type=Precision.FP32,
    style=QdqStyle.CPU,
    weight_bits=7,
    input_format=InputFormat.UINT8_NHWC,
    batch=BatchRange(1, 4, 8),
    image_size=32,
    num_classes=3,
    form=Form.SPLIT,
)
LABELS = ("tench", "spaniel dog", "église")


MANIFEST = Manifest(
    info=INFO,
    preprocessing=Preprocessing(32, 36),
    target=Target.OPENVINO,
    engine="engine.xml",
    precision_run=Precision.INT8,
    runtime="1.0",
    calibration={"method": "mse", "images": 5, "images_digest": "0"},
    layers={"stem.conv1": "int8"},
    parents={"checkpoint": "abc"},
    command="resnest-edge build",
)


def write_hollow(folder: Path, info: GraphInfo = INFO, target: Target = Target.OPENVINO) -> Path:
    """Write one of three classes into a folder that is not there yet."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "engine.xml").write_bytes(b"engine")
    write_bundle(folder, replace(MANIFEST, info=info, target=target), LABELS)
    return folder
