"""A deserialised engine: the runtime's log in its errors, weights put back where it is stripped, interface checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnest_edge.backends.tensorrt.build import input_shape
from resnest_edge.backends.tensorrt.fit import rebuild_hint
from resnest_edge.backends.tensorrt.flavours import Flavour
from resnest_edge.backends.tensorrt.library import Messages, load_library, make_logger
from resnest_edge.errors import BundleMisfitError, UnavailableError
from resnest_edge.spec import GraphInfo, InputFormat

INPUT = "images"
OUTPUTS = ("logits", "probabilities")
_MIB = 1 << 20


class Engine:
    """An ``ICudaEngine`` with the runtime and the logger that it needs.

    Args:
        flavour: the product that built it.
        path: its file.
        info: what it is said to be.
        details: the build's details, from the manifest.

    Raises:
        BundleMisfitError: it cannot be loaded, with the runtime's reason, or is not what ``info`` says.
        UnavailableError: the runtime does not start here.
    """

    def __init__(self, flavour: Flavour, path: Path, info: GraphInfo, details: Mapping[str, Any]) -> None:
        self.product = flavour.product
        self.library = load_library(flavour)
        self.version = str(self.library.__version__)
        self._flavour, self._path, self._info = flavour, path, info
        self._rebuild = rebuild_hint(flavour, path, details)
        self.messages = Messages()
        self._logger = make_logger(self.library, self.messages)
        self._runtime = self._make_runtime()
        if details.get("version_compatible"):
            self._runtime.engine_host_code_allowed = True  # what --version-compatible asked to put into the plan
        self._engine: Any = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise self._misfit(f"{self.product} {self.version} cannot load this engine ({self.messages.reason()})")
        if details.get("stripped"):
            self._refit(path.with_name(str(details["weights"])))
        self._check_interface()

    def _make_runtime(self) -> Any:
        try:
            return self.library.Runtime(self._logger)
        except (TypeError, RuntimeError) as exc:  # the bindings' words for a null pointer
            raise UnavailableError(
                f"{self.product} does not start on this machine ({'; '.join(self.messages.errors) or exc})",
                hint="Check the GPU and its driver with nvidia-smi.",
            ) from exc

    def _refit(self, graph: Path) -> None:
        """Put the graph's weights into an engine that was built without any."""
        refitter = self.library.Refitter(self._engine, self._logger)
        parser_refitter = self.library.OnnxParserRefitter(refitter, self._logger)
        if not parser_refitter.refit_from_bytes(graph.read_bytes()) or not refitter.refit_cuda_engine():
            missing = ", ".join(list(refitter.get_missing_weights())[:3])
            reason = f"weights are missing: {missing}" if missing else self.messages.reason()
            raise self._misfit(f"the weights of {graph.name} cannot be put into this engine ({reason})")

    def _check_interface(self) -> None:
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        if set(names) != {INPUT, *OUTPUTS}:
            raise self._misfit(f"its tensors are {', '.join(names)}, not {', '.join((INPUT, *OUTPUTS))}")
        asked = "UINT8" if self._info.input_format is InputFormat.UINT8_NHWC else "FLOAT"
        for name in names:
            given = str(engine.get_tensor_dtype(name).name)
            if given != (wanted := asked if name == INPUT else "FLOAT"):
                raise self._misfit(f"its {name} are {given}, and {wanted} was announced")
        batch = self._info.batch
        sizes = (batch.minimum,) if batch.fixed else (batch.minimum, batch.optimum, batch.maximum)
        expected = [input_shape(self._info, size) for size in sizes]
        shapes = [engine.get_tensor_shape(INPUT)] if batch.fixed else engine.get_tensor_profile_shape(INPUT, 0)
        if (given_shapes := [tuple(shape) for shape in shapes]) != expected:
            raise self._misfit(f"it takes {INPUT} of {given_shapes}, and {expected} was announced")

    def context(self, batch: int, stream: int) -> Any:
        """An ``IExecutionContext`` for one batch size, to be used with this stream only.

        Args:
            batch: images per inference.
            stream: handle of the stream, which has to be waited for before the context is used.

        Raises:
            UnavailableError: there is not enough memory for it.
            BundleMisfitError: the engine does not take that batch, or gives other shapes than announced.
        """
        context = self._new_context()
        if context is None:
            raise UnavailableError(
                f"{self.product} cannot make an execution context ({self.messages.reason()})",
                hint="Use fewer streams or a smaller batch.",
            )
        if not self._info.batch.fixed and not (
            context.set_optimization_profile_async(0, stream)
            and context.set_input_shape(INPUT, input_shape(self._info, batch))
        ):
            raise self._misfit(f"it does not take {batch} images at once ({self.messages.reason()})")
        if unknown := list(context.infer_shapes()):
            raise self._misfit(f"the shapes of {', '.join(unknown)} stay open")
        for name in OUTPUTS:
            if (shape := tuple(context.get_tensor_shape(name))) != (expected := (batch, self._info.num_classes)):
                raise self._misfit(f"its {name} have the shape {shape}, and {expected} was announced")
        return context

    def _new_context(self) -> Any:
        engine = self._engine
        if not self._flavour.compiles_on_load:
            return engine.create_execution_context()
        # Kernels for the shapes in use at once, not some time later: what is measured and captured is then what runs.
        runtime_config = engine.create_runtime_config()
        strategy = self.library.DynamicShapesKernelSpecializationStrategy.EAGER
        runtime_config.dynamic_shapes_kernel_specialization_strategy = strategy
        return engine.create_execution_context(runtime_config)

    def capturable(self, context: Any, stream: int) -> bool:
        """Whether the runtime allows a CUDA graph of this context; TensorRT says so only by trying."""
        return not self._flavour.compiles_on_load or bool(context.is_stream_capturable(stream))

    def settings(self) -> dict[str, Any]:
        """What the engine reports of itself."""
        engine = self._engine
        return {
            "runtime": f"{self.product} {self.version}",
            "context_memory_mib": round(engine.device_memory_size_v2 / _MIB, 1),
            "aux_streams": engine.num_aux_streams,
        }

    def close(self) -> None:
        """Free the engine; its contexts must be gone."""
        self._engine = None
        self._runtime = None

    def _misfit(self, what: str) -> BundleMisfitError:
        return BundleMisfitError(what, where=self._path, hint=self._rebuild)
