"""The layers of an OpenVINO engine, from the compiled model's own account of what it executes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from resnest_edge.backends.base import SessionOptions
from resnest_edge.backends.inspection import EngineLayer
from resnest_edge.backends.onnx_wire import node_outputs
from resnest_edge.backends.openvino import MATRIX_LAYERS, PRECISIONS, read_and_compile
from resnest_edge.spec import GraphInfo

_RUNS = 7  # the first inference also allocates and any may be interrupted, so medians count
_IDLE = frozenset({"Const", "Input", "Output"})


def openvino_layers(engine: Path, graph: Path, info: GraphInfo) -> list[EngineLayer]:
    """Load an engine on this machine, run it on zeros, and list what was executed.

    Args:
        engine: OpenVINO's ``engine.xml``.
        graph: the typed graph it was built from.
        info: of that graph; one inference of its smallest batch is run.

    Raises:
        UnavailableError: OpenVINO is not installed.
        BundleMisfitError: it cannot load this engine.
    """
    compiled = read_and_compile(engine, info, SessionOptions(batch=info.batch.minimum), {"PERF_COUNT": True})
    request = compiled.create_infer_request()
    tensor = compiled.inputs[0]
    times: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(_RUNS):
        request.infer([np.zeros(tuple(tensor.shape), tensor.element_type.to_dtype())])
        for entry in request.profiling_info:
            times[entry.node_name].append(1000 * entry.real_time.total_seconds())
    producers = node_outputs(graph)
    notes = [
        {"name": operation.get_friendly_name(), **{key: note.value for key, note in operation.get_rt_info().items()}}
        for operation in compiled.get_runtime_model().get_ordered_ops()
    ]
    return [
        engine_layer(note, producers, median(times[note["name"]]) if times[note["name"]] else None)
        for note in notes
        if note["layerType"] not in _IDLE
    ]


def engine_layer(note: Mapping[str, Any], producers: Mapping[str, str], milliseconds: float | None) -> EngineLayer:
    """One operation of OpenVINO's runtime model.

    Args:
        note: its ``name`` and its runtime information.
        producers: name of the graph's node that gives each tensor: OpenVINO calls a layer that gives an output of the
            model by the output's name.
        milliseconds: spent in it.
    """
    names = [name.partition("/")[0] for name in str(note["originalLayersNames"]).split(",") if name]
    precision = str(note["runtimePrecision"])
    ours = PRECISIONS.get(precision)
    return EngineLayer(
        name=str(note["name"]),
        kind=str(note["layerType"]),
        origins=tuple(dict.fromkeys(producers.get(name, name) for name in names)),
        precision=ours.value if ours else precision,
        matrix=note["layerType"] in MATRIX_LAYERS,
        kernel=str(note["primitiveType"]),
        milliseconds=milliseconds,
    )
