"""Engines built by the real TensorRT for RTX, whose parser and builder need no GPU."""

from __future__ import annotations

import platform
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from resnest_edge.backends.base import BuildOptions
from resnest_edge.backends.tensorrt import TensorRTBackend, build
from resnest_edge.backends.tensorrt.flavours import FLAVOURS
from resnest_edge.backends.tensorrt.library import Messages, make_monitor
from resnest_edge.backends.tensorrt.placement import PLACEMENT_INT8
from resnest_edge.errors import GraphError, OutputError, UnavailableError, UsageError
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Precision, QdqStyle, Target
from tests.backends.fake_cuda import FakeRuntime
from tests.backends.rtx import RTX, build_file, build_typed
from tests.backends.typed_graphs import typed_graph

trt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX: pip install 'resnest-edge[rtx]'")

FLOAT = GraphInfo(
    name="relu",
    precision=Precision.FP32,
    float_type=Precision.FP32,
    style=None,
    weight_bits=8,
    input_format=InputFormat.FLOAT_NCHW,
    batch=BatchRange(1, 1, 1),
    image_size=8,
    num_classes=3,
)


def write_graph(path: Path, *operators: str, shape: tuple[int | str, ...] = (1, 3, 8, 8)) -> Path:
    """A chain of operators of one input, each a node named after its operator and place."""
    nodes = [
        helper.make_node(operator, [f"t{index}"], [f"t{index + 1}"], name=f"layer{index}.{operator}")
        for index, operator in enumerate(operators)
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("t0", f"t{len(nodes)}")]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def test_uint8_qdq_under_the_name_of_portable_is_caught(tmp_path: Path) -> None:
    """The parser takes it, as int8; so would the engine, and clip everything above 127."""
    typed = typed_graph(Precision.INT8, placement=replace(PLACEMENT_INT8, style=QdqStyle.CPU))
    with pytest.raises(GraphError, match=r"QuantizeLinear images\.q has a uint8 zero point"):
        build_typed(typed, tmp_path, info=replace(typed.info, style=QdqStyle.PORTABLE))


def test_floats_announced_as_int8_are_caught(tmp_path: Path) -> None:
    typed = typed_graph(Precision.FP16)
    info = replace(typed.info, precision=Precision.INT8, style=QdqStyle.PORTABLE)
    with pytest.raises(GraphError, match="none of its convolutions is quantized"):
        build_typed(typed, tmp_path, info=info)


@pytest.mark.parametrize(("graph", "announced"), [("2", "1:2:8"), ("1:2:8", "2"), ("2", "3")])
def test_another_batch_than_announced_is_caught(graph: str, announced: str, tmp_path: Path) -> None:
    typed = typed_graph(Precision.FP16, batch=graph)
    with pytest.raises(GraphError, match=rf"was announced \(batch {announced}\)"):
        build_typed(typed, tmp_path, info=replace(typed.info, batch=BatchRange.parse(announced)))


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        (("Relu", "Mystery"), "Mystery layer1.Mystery: it does not know this operator"),
        (("Unique", "Relu"), "Unique layer0.Unique: unsupported node"),
        (("Mystery", "Unique"), "Mystery layer0.Mystery: it does not know this operator \\(and 1 more\\)"),
    ],
    ids=["unknown", "unsupported", "both"],
)
def test_an_operator_it_cannot_read_is_named(operators: tuple[str, ...], message: str, tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "model.onnx", *operators)
    with pytest.raises(GraphError, match=message) as caught:
        build_file(graph, FLOAT, tmp_path / "out")
    assert caught.value.where == str(graph)


@pytest.mark.parametrize("content", [b"", b"not a model", None], ids=["empty", "text", "missing"])
def test_a_file_that_is_no_model_is_named(content: bytes | None, tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    if content is not None:
        graph.write_bytes(content)
    with pytest.raises(GraphError) as caught:
        build_file(graph, FLOAT, tmp_path / "out")
    assert caught.value.where == str(graph)


def test_an_unknown_compute_capability_names_the_known_ones(tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "model.onnx", "Relu")
    with pytest.raises(UsageError, match=r"'9\.0' is not one .* 7\.5, 8\.0, 8\.6, 8\.9, 12\.0"):
        build_file(graph, FLOAT, tmp_path / "out", BuildOptions(("9.0",)))


def test_the_builders_own_reason_reaches_the_user(tmp_path: Path) -> None:
    """Turing has no BF16, and this version says so."""
    typed = typed_graph(Precision.BF16)
    with pytest.raises(GraphError, match=r"cannot build this graph .*sm75"):
        build_typed(typed, tmp_path, BuildOptions(("7.5",)))


def test_a_workspace_that_does_not_do_says_which_option(tmp_path: Path) -> None:
    typed = typed_graph(Precision.INT8, batch="1:2:512")
    with pytest.raises(GraphError, match=r"workspace .*--workspace"):
        build_typed(typed, tmp_path, BuildOptions(workspace_mib=1))


def test_the_current_gpu_where_there_is_none(tmp_path: Path) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here")
    graph = write_graph(tmp_path / "model.onnx", "Relu")
    with pytest.raises(UnavailableError, match="no usable NVIDIA driver or GPU here"):
        build_file(graph, FLOAT, tmp_path / "out", BuildOptions(("current",)))


def test_an_unwritable_folder_is_an_output_error(tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "model.onnx", "Relu")
    with pytest.raises(OutputError):
        RTX.build(graph, FLOAT, BuildOptions(), graph / "below-a-file")


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Messages]]:
    """Ctrl-C comes at the builder's first step; gives what the runtime then said."""
    said: list[Messages] = []

    def remember() -> Messages:
        said.append(Messages())
        return said[-1]

    def make_interrupting(library: Any, stop: threading.Event, progress: Any) -> Any:
        class Interrupting(type(make_monitor(library, stop, progress))):  # type: ignore[misc]
            def step_complete(self, phase_name: str, step: int) -> bool:
                if not stop.is_set():
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                    assert stop.wait(30)
                return bool(super().step_complete(phase_name, step))

        return Interrupting()

    monkeypatch.setattr(build, "Messages", remember)
    monkeypatch.setattr(build, "make_monitor", make_interrupting)
    # A shell starts background jobs with Ctrl-C ignored, and Python inherits that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield said
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_build_and_leaves_nothing(interrupted: list[Messages], tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "model.onnx", "Relu")
    with pytest.raises(KeyboardInterrupt):
        build_file(graph, FLOAT, tmp_path / "out")
    for thread in threading.enumerate():
        if thread.name.startswith("tensorrt-build"):
            thread.join()  # the interrupt may come before the pool knows its thread
    assert "BuildCanceled" in interrupted[0].errors[0]


@pytest.mark.parametrize("operators", [("Relu",), ("Mystery",)], ids=["built", "refused"])
def test_nothing_of_a_build_outlives_it(
    operators: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A builder that the garbage collector frees inside the next build's logger would hang both."""
    builders: list[weakref.ref[Any]] = []

    def remember(logger: Any, real: Any = trt.Builder) -> Any:
        builder = real(logger)
        builders.append(weakref.ref(builder))
        return builder

    monkeypatch.setattr(trt, "Builder", remember)
    graph = write_graph(tmp_path / "model.onnx", *operators)
    error = None
    try:
        build_file(graph, FLOAT, tmp_path / "out")
    except GraphError as exc:
        error = exc  # and with it, its traceback
    assert (error is None) is (operators == ("Relu",))
    assert [reference() for reference in builders] == [None]


def test_tensorrt_takes_the_same_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TensorRT itself cannot be installed everywhere: here its row of data builds with the module of RTX."""
    flavour = FLAVOURS[Target.TENSORRT]
    monkeypatch.setitem(FLAVOURS, Target.TENSORRT, replace(flavour, module="tensorrt_rtx", majors=(1,)))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeRuntime())
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    graph = write_graph(tmp_path / "model.onnx", "Relu", shape=("batch", 3, 8, 8))
    backend = TensorRTBackend(Target.TENSORRT)
    built = backend.build(graph, replace(FLOAT, batch=BatchRange(1, 2, 4)), BuildOptions(), tmp_path)
    assert built.files == ("engine.plan",)
    assert (tmp_path / "engine.plan").is_file()
    assert "compute_capabilities" not in built.details
    assert built.details["built_for"] == {
        "runtime": trt.__version__,
        "os": platform.system(),
        "architecture": platform.machine(),
        "cuda": "12.6",
        "gpu": "Fake Orin",
        "compute_capability": "8.7",
        "profile": [[1, 3, 8, 8], [2, 3, 8, 8], [4, 3, 8, 8]],
    }
