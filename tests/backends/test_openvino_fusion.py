"""What OpenVINO makes of the INT8 graph that its placement writes: nothing between convolutions is in float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resnest_edge.backends.base import SessionOptions
from resnest_edge.backends.openvino import OpenVINOBackend, read_and_compile
from resnest_edge.graph.model import save_graph
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import Form, Precision
from tests.backends.typed_graphs import typed_graph

BACKEND = OpenVINOBackend()


def layers(placement: Placement, form: Form, folder: Path) -> list[dict[str, Any]]:
    """The operations that the compiled model executes, in order, each with its notes and whether it gives a map."""
    typed = typed_graph(Precision.INT8, form=form, placement=placement)
    save_graph(typed.model, folder / "model.onnx")
    compiled = read_and_compile(folder / "model.onnx", typed.info, SessionOptions(batch=1))
    found = []
    for operation in compiled.get_runtime_model().get_ordered_ops():
        notes = {key: str(note.value) for key, note in operation.get_rt_info().items()}
        shape = list(operation.get_output_shape(0)) if operation.get_output_size() else []
        found.append({**notes, "name": operation.get_friendly_name(), "map": len(shape) == 4 and shape[2] > 1})
    return found


def float_maps(found: list[dict[str, Any]]) -> list[str]:
    return [
        layer["name"]
        for layer in found
        if layer["map"] and layer["layerType"] not in ("Const", "Input") and "f32" in layer["outputPrecisions"]
    ]


def test_convolutions_hand_on_int8_and_take_the_residual_add(tmp_path: Path) -> None:
    found = layers(BACKEND.int8_placement(), Form.SPLIT, tmp_path)
    convolutions = [layer for layer in found if layer["layerType"] == "Convolution"]
    assert {layer["runtimePrecision"] for layer in convolutions} <= {"u8", "i8"}
    blocks = [layer for layer in convolutions if "stem" not in layer["name"] and ".conv3" in layer["name"]]
    floats = [layer for layer in convolutions if layer["map"] and layer["outputPrecisions"] not in ("u8", "i8")]
    assert floats == blocks[-1:], "only the network's last map, which is pooled for the classifier"
    adds = [layer["originalLayersNames"] for layer in blocks]
    assert adds and all(".Add" in names and ".Relu" in names for names in adds), "each block's add is fused"


def test_without_quantized_outputs_maps_are_float(tmp_path: Path) -> None:
    """What the test above would see if the placement did nothing."""
    plain = Placement(BACKEND.int8_placement().style, weight_bits=7)
    assert len(float_maps(layers(plain, Form.SPLIT, tmp_path))) > len(
        float_maps(layers(BACKEND.int8_placement(), Form.SPLIT, tmp_path))
    )
