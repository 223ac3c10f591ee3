"""ONNX Runtime on CPUs. The engine is the graph after ONNX Runtime's own optimisation, which fuses Q/DQ away."""

from __future__ import annotations

import importlib
import json
import tempfile
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge import environment
from resnest_edge.backends.base import Backend, BuildOptions, BuiltEngine, Outputs, Session, SessionOptions, check_batch
from resnest_edge.errors import BundleMisfitError, GraphError, UnavailableError, UsageError
from resnest_edge.quantize.placement import ELEMENTWISE, Placement
from resnest_edge.spec import GraphInfo, InputFormat, Precision, QdqStyle, Target

ENGINE_FILES = ("engine.onnx",)
INT8_KERNELS = frozenset({"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat"})
FLOAT_KERNELS = frozenset({"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})
_TIMINGS_KEPT = 10_000


class ONNXRuntimeBackend(Backend):
    """Builds and runs typed graphs with ONNX Runtime's CPU provider."""

    target = Target.ONNXRUNTIME

    def version(self) -> str:
        return str(_onnxruntime().__version__)

    def check(self, precision: Precision) -> None:
        if precision in (Precision.FP16, Precision.BF16):
            raise UsageError(
                f"ONNX Runtime's CPU provider does not compute convolutions in {precision.name}",
                hint="Use --precision int8 or fp32, or --target openvino for bf16.",
            )

    def int8_placement(self) -> Placement:
        return Placement(
            style=QdqStyle.CPU,
            weight_bits=8 if environment.has_safe_int8_products() else 7,
            outputs=True,
            elementwise=ELEMENTWISE,
            global_pools=True,
        )

    def build(self, graph: Path, info: GraphInfo, options: BuildOptions, out: Path) -> BuiltEngine:
        self.check(info.precision)
        self.check_options(options)
        ort = _onnxruntime()
        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        settings.optimized_model_filepath = str(out / ENGINE_FILES[0])
        try:
            ort.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
        except _errors() as exc:
            raise GraphError(f"ONNX Runtime cannot build this graph ({_reason(exc)})", where=graph) from exc
        kernels = _kernels_run(out / ENGINE_FILES[0], info)
        quantized, floating = (sum(kernels[name] for name in names) for names in (INT8_KERNELS, FLOAT_KERNELS))
        run = Precision.INT8 if quantized > floating else Precision.FP32
        matrix = {name: count for name, count in sorted(kernels.items()) if name in INT8_KERNELS | FLOAT_KERNELS}
        return BuiltEngine(ENGINE_FILES, run, {"matrix_layers": matrix})

    def load(
        self,
        engine: Path,
        info: GraphInfo,
        options: SessionOptions,
        built: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> Session:
        check_batch(info, options)
        return ONNXRuntimeSession(_load(engine, _session_settings(info, options)), info, options)


class ONNXRuntimeSession(Session):
    """One ONNX Runtime session run from as many threads as there are streams."""

    def __init__(self, session: Any, info: GraphInfo, options: SessionOptions) -> None:
        super().__init__(info, options)
        self._session = session
        self._latencies: deque[float] = deque(maxlen=_TIMINGS_KEPT)
        self._slots = threading.Semaphore(options.streams)
        self._workers = ThreadPoolExecutor(options.streams, thread_name_prefix="onnxruntime")

    def submit(self, images: npt.NDArray[Any]) -> Future[Outputs]:
        self._slots.acquire()
        try:
            future = self._workers.submit(self._infer, images)
        except RuntimeError:
            self._slots.release()
            raise
        future.add_done_callback(lambda _: self._slots.release())
        return future

    def _infer(self, images: npt.NDArray[Any]) -> Outputs:
        start = perf_counter()
        answer = Outputs(*self._session.run(list(Outputs._fields), {"images": images}))
        self._latencies.append(1000.0 * (perf_counter() - start))
        return answer

    def timings(self) -> dict[str, float]:
        return {"run_ms": median(self._latencies)} if self._latencies else {}

    def effective_settings(self) -> dict[str, Any]:
        settings = self._session.get_session_options()
        return {
            "runtime": f"ONNX Runtime {ONNXRuntimeBackend().version()}",
            "intra_op_num_threads": settings.intra_op_num_threads,
            "streams": self.options.streams,
            "providers": ", ".join(self._session.get_providers()),
        }

    def close(self) -> None:
        self._workers.shutdown(wait=True)


class GraphRunner:
    """Runs an FP32 graph and hands out any of its tensors: what calibration observes and parity compares.

    Args:
        graph: a serialised ONNX graph whose outputs include ``outputs``.
        outputs: names of the tensors to give, in this order.
        qdq_as_written: compute Q/DQ in floats exactly as the graph writes it, instead of fusing it into INT8 kernels,
            whose products overflow on some CPUs (ARCHITECTURE, "Numbers that look odd").
        threads: that one call computes with; None means every core. Several threads may call at once.
    """

    def __init__(
        self, graph: bytes, outputs: Sequence[str], *, qdq_as_written: bool = False, threads: int | None = None
    ) -> None:
        ort = _onnxruntime()
        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        settings.intra_op_num_threads = threads or environment.usable_cores()
        # Planned after the first batch, later ones' memory is one block beside what the first took: twice as much.
        settings.enable_mem_pattern = False
        if qdq_as_written:
            settings.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._session = ort.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
        except _errors() as exc:
            raise GraphError(f"ONNX Runtime cannot run this graph ({_reason(exc)})") from exc
        # It keeps the graph, a second copy of every weight, to start anew on another provider; there is none here.
        self._session._model_bytes = None
        self._outputs = list(outputs)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, images: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Feed one batch.

        Raises:
            GraphError: the graph does not take a batch of this shape or type.
        """
        values = {self._input: _onnxruntime().OrtValue.ortvalue_from_numpy(np.ascontiguousarray(images))}
        try:
            answers = self._session.run_with_ort_values(self._outputs, values)
        except _errors() as exc:
            raise GraphError(f"ONNX Runtime cannot run this graph ({_reason(exc)})") from exc
        return [answer.numpy() for answer in answers]  # its own memory, not a copy


def _session_settings(info: GraphInfo, options: SessionOptions) -> Any:
    settings = _onnxruntime().SessionOptions()
    settings.log_severity_level = 3
    threads = options.threads or environment.usable_cores()
    settings.intra_op_num_threads = max(1, threads // options.streams)
    settings.inter_op_num_threads = 1
    if not info.batch.fixed:
        settings.add_free_dimension_override_by_name("batch", options.batch)
    return settings


def _kernels_run(engine: Path, info: GraphInfo) -> Counter[str]:
    """Operators that the provider executes for one inference, from ONNX Runtime's own profile."""
    return Counter(event["args"]["op_name"] for event in profile(engine, info))


def profile(engine: Path, info: GraphInfo, runs: int = 1) -> list[dict[str, Any]]:
    """What ONNX Runtime's own profile tells of each node, over several inferences on zeros.

    Returns:
        For each node one event: ``name``, ``dur`` (median, µs), ``args`` with the operator and its inputs' types.

    Raises:
        UnavailableError: ONNX Runtime is not installed.
        BundleMisfitError: it cannot load this engine.
    """
    batch, side = info.batch.minimum, info.image_size
    uint8 = info.input_format is InputFormat.UINT8_NHWC
    shape = (batch, side, side, 3) if uint8 else (batch, 3, side, side)
    with tempfile.TemporaryDirectory() as folder:
        settings = _session_settings(info, SessionOptions(batch=batch))
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder) / "profile")
        session = _load(engine, settings)
        for _ in range(runs):
            session.run(None, {"images": np.zeros(shape, np.uint8 if uint8 else np.float32)})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = [event for event in events if event.get("cat") == "Node"]
    spent: defaultdict[str, list[float]] = defaultdict(list)
    for event in nodes:
        spent[event["name"]].append(float(event["dur"]))
    last = {event["name"]: event for event in nodes}
    return [{**event, "dur": median(spent[name])} for name, event in last.items()]


def _load(engine: Path, settings: Any) -> Any:
    try:
        return _onnxruntime().InferenceSession(str(engine), settings, providers=["CPUExecutionProvider"])
    except _errors() as exc:
        raise BundleMisfitError(
            f"ONNX Runtime {ONNXRuntimeBackend().version()} cannot load this engine ({_reason(exc)})",
            where=engine,
            hint="Build it again on this machine.",
        ) from exc


def _reason(exc: BaseException) -> str:
    return str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__


def _errors() -> tuple[type[BaseException], ...]:
    """ONNX Runtime's exceptions share no public base but RuntimeError's siblings; these are all it raises."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    names = (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NoSuchFile",
        "NotImplemented",
        "RuntimeException",
    )
    return (*(getattr(state, name) for name in names), RuntimeError, ValueError)


def _onnxruntime() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as exc:
        raise UnavailableError(
            "ONNX Runtime is not installed", hint="Install it with: pip install 'resnest-edge[cpu]'."
        ) from exc
