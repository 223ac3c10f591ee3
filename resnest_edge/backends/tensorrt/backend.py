"""TensorRT 10, TensorRT 11 and TensorRT for RTX behind the seam."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnest_edge.backends.base import Backend, BuildOptions, BuiltEngine, Session, SessionOptions, check_batch
from resnest_edge.backends.cuda import Device, load_cuda
from resnest_edge.backends.tensorrt.build import build_plan
from resnest_edge.backends.tensorrt.configure import CURRENT, check_members, check_options, check_request
from resnest_edge.backends.tensorrt.engine import Engine
from resnest_edge.backends.tensorrt.fit import BUILT_FOR, check_fit, describe_machine
from resnest_edge.backends.tensorrt.flavours import FLAVOURS
from resnest_edge.backends.tensorrt.library import load_library
from resnest_edge.backends.tensorrt.placement import PLACEMENT_INT8
from resnest_edge.backends.tensorrt.session import TensorRTSession
from resnest_edge.files import write_atomically
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import GraphInfo, Precision, Target


class TensorRTBackend(Backend):
    """Builds typed graphs with TensorRT, or with TensorRT for RTX, which needs no GPU for it, and runs them.

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

    def check_options(self, options: BuildOptions) -> None:
        """Also refuse, as a build would only after calibration, a machine without the GPU that it would build for.

        Raises:
            UsageError: an option out of range, or not for this flavour or version.
            UnavailableError: the runtime is not here, or no GPU that the build needs.
        """
        check_options(self._flavour, options)
        check_members(load_library(self._flavour), options)
        self._device_to_build_for(options)

    def int8_placement(self) -> Placement:
        return PLACEMENT_INT8

    def build(self, graph: Path, info: GraphInfo, options: BuildOptions, out: Path) -> BuiltEngine:
        check_request(self._flavour, info, options)
        version = self.version()
        here = describe_machine(version, self._device_to_build_for(options), info)
        plan = build_plan(self._flavour, graph, info, options)  # its walk holds the network to info.precision
        write_atomically(out / self._flavour.engine, plan.data)
        details = {
            "matrix_layers": plan.account.matrix_layers,
            "layers": plan.account.layers,
            **plan.settings,
            **({"narrow_groups": list(plan.account.narrow_groups)} if plan.account.narrow_groups else {}),
            **({"weights": graph.name} if options.stripped else {}),
            BUILT_FOR: here,
            "warnings": plan.warnings,
        }
        return BuiltEngine((self._flavour.engine,), info.precision, details)

    def _device_to_build_for(self, options: BuildOptions) -> Device | None:
        """The GPU here, unless the build needs none."""
        needs_none = self._flavour.names_gpus and CURRENT not in options.compute_capabilities
        return None if needs_none else load_cuda().device()

    def load(
        self, engine: Path, info: GraphInfo, options: SessionOptions, built: Mapping[str, Any] | None = None
    ) -> Session:
        check_batch(info, options)
        version, cuda = self.version(), load_cuda()
        if built is not None:
            check_fit(self._flavour, engine, built, describe_machine(version, cuda.device(), info))
        with cuda.current():
            loaded = Engine(self._flavour, engine, info, built or {})
        return TensorRTSession(cuda, loaded, info, options)
