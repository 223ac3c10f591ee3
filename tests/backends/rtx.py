"""Builds with the real TensorRT for RTX, which leave nothing behind unless they succeed."""

from __future__ import annotations

from pathlib import Path

from resnest_edge.backends.base import BuildOptions, BuiltEngine
from resnest_edge.backends.tensorrt import TensorRTBackend
from resnest_edge.graph.model import save_graph
from resnest_edge.pipeline.typed import TypedGraph
from resnest_edge.spec import GraphInfo, Target

RTX = TensorRTBackend(Target.TENSORRT_RTX)


def build_typed(
    typed: TypedGraph, folder: Path, options: BuildOptions | None = None, info: GraphInfo | None = None
) -> BuiltEngine:
    """Build into ``folder/out``, which must stay empty unless the build succeeds."""
    graph, out = folder / "model.onnx", folder / "out"
    save_graph(typed.model, graph)
    return build_file(graph, info or typed.info, out, options)


def build_file(graph: Path, info: GraphInfo, out: Path, options: BuildOptions | None = None) -> BuiltEngine:
    out.mkdir()
    try:
        return RTX.build(graph, info, options or BuildOptions(), out)
    except BaseException:
        assert list(out.iterdir()) == []
        raise
