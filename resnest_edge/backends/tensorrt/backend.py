"""TensorRT 10, TensorRT 11 and TensorRT for RTX behind the seam."""

from __future__ import annotations

from pathlib import Path

from resnest_edge.backends.base import Backend, BuildOptions, BuiltEngine, Session, SessionOptions
from resnest_edge.backends.tensorrt.build import build_plan
from resnest_edge.backends.tensorrt.flavours import FLAVOURS
from resnest_edge.backends.tensorrt.library import load_library
from resnest_edge.backends.tensorrt.placement import PLACEMENT_INT8
from resnest_edge.errors import UnavailableError
from resnest_edge.files import write_atomically
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import GraphInfo, Precision, Target


class TensorRTBackend(Backend):
    """Builds typed graphs with TensorRT, or with TensorRT for RTX, which needs no GPU for it.

    Args:
        target: ``Target.TENSORRT`` or ``Target.TENSORRT_RTX``.
    """

    def __init__(self, target: Target) -> None:
        self.target = target  # type: ignore[misc]  # one class serves two targets
        self._flavour = FLAVOURS[target]

    def version(self) -> str:
        return str(load_library(self._flavour).__version__)

    def check(self, precision: Precision) -> None:
        """Every precision can be written into a graph for TensorRT; a GPU too old for one is named by the builder."""

    def int8_placement(self) -> Placement:
        return PLACEMENT_INT8

    def build(self, graph: Path, info: GraphInfo, options: BuildOptions, out: Path) -> BuiltEngine:
        plan = build_plan(self._flavour, graph, info, options)  # its walk holds the network to info.precision
        write_atomically(out / self._flavour.engine, plan.data)
        details = {
            "matrix_layers": plan.account.matrix_layers,
            "layers": plan.account.layers,
            **plan.settings,
            "warnings": plan.warnings,
        }
        return BuiltEngine((self._flavour.engine,), info.precision, details)

    def load(self, engine: Path, info: GraphInfo, options: SessionOptions) -> Session:  # noqa: ARG002
        raise UnavailableError(
            f"this release builds {self._flavour.product} engines and does not run them yet",
            where=engine,
            hint="Run it with the runtime's own tools on a machine with the GPU, or build for a CPU target.",
        )
