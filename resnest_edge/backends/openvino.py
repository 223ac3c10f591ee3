"""OpenVINO on CPUs. The engine is OpenVINO's intermediate representation; kernels are chosen when it is loaded."""

from __future__ import annotations

import contextlib
import importlib
import queue
import threading
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge import environment
from resnest_edge.backends.base import Backend, BuildOptions, BuiltEngine, Outputs, Session, SessionOptions, check_batch
from resnest_edge.errors import BundleMisfitError, GraphError, UnavailableError, UsageError
from resnest_edge.files import output_error, write_failure
from resnest_edge.quantize.placement import FUSING, POOLS, Placement
from resnest_edge.spec import GraphInfo, Precision, QdqStyle, Target

ENGINE_FILES = ("engine.xml", "engine.bin")
PRECISIONS = {
    "f32": Precision.FP32,
    "f16": Precision.FP16,
    "bf16": Precision.BF16,
    "u8": Precision.INT8,
    "i8": Precision.INT8,
}
MATRIX_LAYERS = ("Convolution", "FullyConnected", "MatMul")
_TIMINGS_KEPT = 10_000
_FIRST_USE = threading.Lock()


class OpenVINOBackend(Backend):
    """Builds and runs typed graphs with OpenVINO's CPU plugin."""

    target = Target.OPENVINO

    def version(self) -> str:
        return str(_openvino().__version__).split("-", maxsplit=1)[0]

    def check(self, precision: Precision) -> None:
        if precision is Precision.FP16:
            raise UsageError(
                "OpenVINO's CPU plugin does not compute in FP16",
                hint="Use --precision int8, bf16 or fp32, or a GPU target.",
            )

    def int8_placement(self) -> Placement:
        """INT8 wherever maps are large, FP32 between: docs/notes/speed.md has what was measured.

        Q/DQ behind the last convolution of a block lets OpenVINO fuse the residual add into it; pools and splits in
        INT8 move a quarter of the bytes. What is left in float is so little that BF16 gains nothing on a CPU with
        AVX512-BF16; with AMX, layers that are kept in float are worth it.
        """
        return Placement(
            style=QdqStyle.CPU,
            float_type=Precision.BF16 if environment.has_amx_bf16() else Precision.FP32,
            weight_bits=8 if environment.has_safe_int8_products() else 7,
            outputs=True,
            output_readers=FUSING,
            elementwise=POOLS,
        )

    def build(self, graph: Path, info: GraphInfo, options: BuildOptions, out: Path) -> BuiltEngine:
        self.check(info.precision)
        self.check_options(options)
        ov = _openvino()
        core = _core(ov)
        try:
            model = core.read_model(graph)
            compiled = core.compile_model(_read(core, graph), "CPU", _config(info, SessionOptions()))
        except RuntimeError as exc:
            raise GraphError(f"OpenVINO cannot build this graph ({_reason(exc)})", where=graph) from exc
        try:
            ov.save_model(model, out / ENGINE_FILES[0], compress_to_fp16=False)
        except RuntimeError as exc:
            raise output_error(out, write_failure(out, _reason(exc))) from exc
        layers = _matrix_precisions(compiled)
        run = PRECISIONS[layers.most_common(1)[0][0]] if layers else info.float_type
        return BuiltEngine(ENGINE_FILES, run, {"matrix_layers": dict(sorted(layers.items()))})

    def load(
        self,
        engine: Path,
        info: GraphInfo,
        options: SessionOptions,
        built: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> Session:
        check_batch(info, options)
        return OpenVINOSession(read_and_compile(engine, info, options), info, options)


class OpenVINOSession(Session):
    """A pool of as many infer requests as there are streams."""

    def __init__(self, compiled: Any, info: GraphInfo, options: SessionOptions) -> None:
        super().__init__(info, options)
        self._compiled = compiled
        self._latencies: deque[float] = deque(maxlen=_TIMINGS_KEPT)
        self._free: queue.Queue[Any] = queue.Queue()
        self._requests = [compiled.create_infer_request() for _ in range(options.streams)]
        for request in self._requests:
            self._free.put(request)
        self._outputs = [next(i for i, o in enumerate(compiled.outputs) if name in o.names) for name in Outputs._fields]

    def submit(self, images: npt.NDArray[Any]) -> Future[Outputs]:
        request = self._free.get()
        future: Future[Outputs] = Future()
        request.set_callback(self._finish, (request, future, images))
        try:
            request.start_async([np.ascontiguousarray(images)], share_inputs=True)
        except (RuntimeError, ValueError, TypeError):
            self._free.put(request)
            raise
        return future

    def _finish(self, job: tuple[Any, Future[Outputs], npt.NDArray[Any]]) -> None:
        request, future, _ = job
        try:
            answer = Outputs(*(request.get_output_tensor(index).data.copy() for index in self._outputs))
            self._latencies.append(request.latency)
        except RuntimeError as exc:
            self._free.put(request)
            future.set_exception(exc)
            return
        self._free.put(request)
        future.set_result(answer)

    def timings(self) -> dict[str, float]:
        return {"infer_ms": median(self._latencies)} if self._latencies else {}

    def effective_settings(self) -> dict[str, Any]:
        names = ("INFERENCE_NUM_THREADS", "NUM_STREAMS", "INFERENCE_PRECISION_HINT", "PERFORMANCE_HINT")
        settings = {name.lower(): _plain(self._compiled.get_property(name)) for name in names}
        return {"runtime": f"OpenVINO {OpenVINOBackend().version()}", **settings}

    def close(self) -> None:
        for request in self._requests:
            request.wait()
            # A request keeps its callback, which knows the request: a cycle through C++ that Python cannot collect.
            request.set_callback(_nothing, None)
        self._requests.clear()
        with contextlib.suppress(queue.Empty):
            while True:
                self._free.get_nowait()
        self._compiled = None


def read_and_compile(
    engine: Path, info: GraphInfo, options: SessionOptions, extra: Mapping[str, Any] | None = None
) -> Any:
    """OpenVINO's compiled model of an engine, for one batch size, with ``extra`` properties.

    Raises:
        UnavailableError: OpenVINO is not installed.
        BundleMisfitError: it cannot load this engine.
    """
    core = _core(_openvino())
    try:
        model = _read(core, engine)
        if not info.batch.fixed:
            shape = model.inputs[0].get_partial_shape()
            model.reshape([options.batch, *list(shape)[1:]])
        return core.compile_model(model, "CPU", {**_config(info, options), **(extra or {})})
    except RuntimeError as exc:
        raise BundleMisfitError(
            f"OpenVINO {OpenVINOBackend().version()} cannot load this engine ({_reason(exc)})",
            where=engine,
            hint="Build it again on this machine.",
        ) from exc


def _read(core: Any, path: Path) -> Any:
    """A graph or engine as the CPU plugin computes it right: BF16 widened to FP32, and the precision left to the hint.

    Widening a constant is exact. In graphs typed BF16 the plugin of 2026.4 errs on CPUs with AVX512-BF16 and no AMX: in
    matrix products (openvino issue 38256), and in INT8 convolutions between BF16, which answer at random, and slowly.
    """
    ops = importlib.import_module("openvino.opset13")
    model = core.read_model(path)
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind not in ("Constant", "Convert") or node.get_output_element_type(0).get_type_name() != "bf16":
            continue
        if kind == "Constant":
            bits = np.array(node.get_data()).view(np.uint16).astype(np.uint32) << 16
            wide = ops.constant(bits.view(np.float32).reshape(tuple(node.get_output_shape(0))))
        else:
            wide = ops.convert(node.input_value(0), "f32")
        wide.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(wide.output(0))
    model.validate_nodes_and_infer_types()
    return model


def _config(info: GraphInfo, options: SessionOptions) -> dict[str, Any]:
    """The precision hint follows the typed graph: left alone, OpenVINO would run FP32 in BF16 on an AMX CPU."""
    bf16 = info.float_type is Precision.BF16 and environment.has_bf16()
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "NUM_STREAMS": options.streams,
        "INFERENCE_NUM_THREADS": options.threads or environment.usable_cores(),
        "PERFORMANCE_HINT": "LATENCY" if options.streams == 1 else "THROUGHPUT",
    }


def _matrix_precisions(compiled: Any) -> Counter[str]:
    """Precision that each convolution and matrix product really runs in, from the compiled model's own account."""
    found: Counter[str] = Counter()
    for operation in compiled.get_runtime_model().get_ops():
        notes = operation.get_rt_info()
        if notes["layerType"].value in MATRIX_LAYERS:
            found[str(notes["runtimePrecision"].value)] += 1
    return found


def _plain(value: Any) -> Any:
    if hasattr(value, "get_type_name"):  # an openvino.Type, such as the precision hint
        return value.get_type_name()
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _nothing(_: object) -> None:
    return None


def _reason(exc: BaseException) -> str:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("Exception from")), lines[0] if lines else repr(exc))


def _core(ov: Any) -> Any:
    """One core a process, never freed.

    The CPU plugin gives the thread that loads it a stack for signal handlers, and frees that memory with itself, on
    whatever thread that is: the next signal would kill the process. Engines are freed without it.
    """
    with _FIRST_USE:
        return _made_core(ov)


@cache
def _made_core(ov: Any) -> Any:
    return ov.Core()


def _openvino() -> Any:
    try:
        ov = importlib.import_module("openvino")
    except ImportError as exc:
        raise UnavailableError(
            "OpenVINO is not installed", hint="Install it with: pip install 'resnest-edge[cpu]'."
        ) from exc
    with _FIRST_USE:
        _fill_type_tables(ov)
    return ov


@cache
def _fill_type_tables(ov: Any) -> None:
    """Have the bindings fill their tables between NumPy's types and their own while one thread is in them.

    They are static variables of C++ functions, and filling them calls Python, which may hand the interpreter to another
    thread. If that one comes to the same table first of all, it keeps the interpreter and waits for the table, and the
    first waits for the interpreter: both for ever. Seen with OpenVINO 2026.4, at the first inference of two threads, in
    ``to_dtype``; the other table is made in the same way.
    """
    _ = ov.Tensor(np.zeros(1, np.float32), shared_memory=True).data
    ov.Type.f32.to_dtype()
