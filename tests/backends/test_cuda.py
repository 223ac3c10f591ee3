"""CUDA behind its small interface, over a stand-in that works asynchronously; names are held to cuda-python's own."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest

from resnest_edge.backends.cuda import Cuda, CudaPython, Device, load_cuda
from resnest_edge.errors import UnavailableError
from tests.backends.fake_cuda import FakeRuntime

NEEDS_CUDA_PYTHON = pytest.mark.skipif(
    importlib.util.find_spec("cuda") is None, reason="needs cuda-python: pip install 'resnest-edge[cuda]'"
)


def use(runtime: object, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "cuda.bindings.runtime", runtime)
    patch.setitem(sys.modules, "pycuda.driver", None)  # None: importing it fails


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> FakeRuntime:
    fake = FakeRuntime()
    use(fake, monkeypatch)
    return fake


@pytest.fixture
def cuda(runtime: FakeRuntime) -> Cuda:
    return load_cuda()


def used_names() -> set[str]:
    """Names of the runtime API in ``CudaPython``: those it calls by name, and those it reads."""
    tree = ast.parse(inspect.getsource(CudaPython))
    called = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {name for name in called | read if name.startswith("cuda") and name[4:5].isupper()}


def test_the_names_are_found() -> None:
    assert {"cudaMalloc", "cudaFreeHost", "cudaGraphLaunch", "cudaMemcpyKind", "cudaError_t"} <= used_names()


@NEEDS_CUDA_PYTHON
def test_every_name_is_in_cuda_python() -> None:
    runtime = importlib.import_module("cuda.bindings.runtime")
    holders = [
        runtime,
        *(getattr(runtime, name) for name in used_names() if isinstance(getattr(runtime, name, None), type)),
    ]
    assert {name for name in used_names() if not any(hasattr(holder, name) for holder in holders)} == set()


@NEEDS_CUDA_PYTHON
@pytest.mark.parametrize("name", sorted(name for name in vars(FakeRuntime) if name.startswith("cuda")))
def test_the_stand_in_takes_what_cuda_python_takes(name: str) -> None:
    """Parameter counts, from the signature that begins each function's documentation."""
    real = getattr(importlib.import_module("cuda.bindings.runtime"), name)
    if not inspect.isfunction(fake := vars(FakeRuntime)[name]):
        return
    signature = str(real.__doc__).strip().splitlines()[0]
    parameters = [
        text for text in signature[signature.index("(") + 1 : signature.rindex(")")].split(",") if text.strip()
    ]
    assert len(parameters) == len(inspect.signature(fake).parameters) - 1, signature


@NEEDS_CUDA_PYTHON
def test_a_machine_without_a_driver_is_told_so_by_the_real_library() -> None:
    if Path("/dev/nvidiactl").exists() or Path("/dev/nvhost-gpu").exists():
        pytest.skip("there is a GPU here")
    with pytest.raises(UnavailableError, match="no usable NVIDIA driver or GPU"):
        CudaPython()


@pytest.mark.parametrize(
    ("fake", "message"),
    [(FakeRuntime(driver=False), "no usable NVIDIA driver or GPU"), (FakeRuntime(devices=0), "finds no GPU")],
)
def test_no_gpu(fake: FakeRuntime, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(fake, monkeypatch)
    with pytest.raises(UnavailableError, match=message):
        load_cuda()


def test_no_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnavailableError, match="neither cuda-python nor PyCUDA") as caught:
        load_cuda()
    assert "resnest-edge[cuda]" in str(caught.value)


def test_a_library_that_does_not_load_gives_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(UnavailableError, match=r"does not load \(libcudart\.so\.13"):
        load_cuda()


def test_the_device(cuda: Cuda) -> None:
    assert cuda.device() == Device("Fake Orin", "8.7", "12.6", 1024)
    assert (cuda.binding, cuda.captures) == ("cuda-python", True)


def test_bytes_go_to_the_device_and_back_in_order(cuda: Cuda, runtime: FakeRuntime) -> None:
    runtime.delay = 0.01
    host, back = (cuda.pin((2, 3), np.float32) for _ in range(2))
    memory, stream = cuda.allocate(24), cuda.stream()
    start, end = cuda.event(), cuda.event()
    host.held[:] = np.arange(6).reshape(2, 3)
    cuda.record(start, stream)
    cuda.copy_in(memory, host, stream)
    cuda.copy_out(back, memory, stream)
    cuda.record(end, stream)
    assert not np.array_equal(back.held, host.held)  # not yet
    cuda.wait(stream)
    assert np.array_equal(back.held, host.held)
    assert cuda.elapsed_ms(start, end) >= 30
    for resource in (host, back, memory, stream, start, end):
        cuda.free(resource)
    assert not +runtime.live


def test_a_graph_runs_when_it_is_launched_and_not_before(cuda: Cuda, runtime: FakeRuntime) -> None:
    host, memory, stream = cuda.pin((4,), np.uint8), cuda.allocate(4), cuda.stream()
    back = cuda.pin((4,), np.uint8)
    graph = cuda.capture(stream, lambda: cuda.copy_in(memory, host, stream))
    for value in (1, 2):
        host.held[:] = value
        cuda.launch(graph, stream)
        cuda.copy_out(back, memory, stream)
        cuda.wait(stream)
        assert set(back.held) == {value}
    for resource in (graph, host, memory, stream, back):
        cuda.free(resource)
    assert not +runtime.live


def test_a_capture_that_fails_leaves_a_stream_that_works(cuda: Cuda, runtime: FakeRuntime) -> None:
    stream = cuda.stream()

    def fail() -> None:
        raise UnavailableError("no such kernel")

    with pytest.raises(UnavailableError, match="no such kernel"):
        cuda.capture(stream, fail)
    runtime.capturable = False
    with pytest.raises(UnavailableError, match="cudaErrorStreamCaptureUnsupported"):
        cuda.capture(stream, lambda: None)
    cuda.wait(stream)
    cuda.free(stream)
    assert not +runtime.live


def test_a_stream_follows_another(cuda: Cuda, runtime: FakeRuntime) -> None:
    """What the other stream was given before comes first, however long it takes."""
    runtime.delay = 0.02
    slow = cuda.stream()
    runtime.delay = 0.0
    stream, order = cuda.stream(), []
    for _ in range(3):
        runtime.stream(slow.address).put(lambda: order.append("theirs"))
    cuda.follow(stream, slow.address)
    runtime.stream(stream.address).put(lambda: order.append("ours"))
    cuda.wait(stream)
    assert order == ["theirs"] * 3 + ["ours"]
    for each in (slow, stream):
        cuda.free(each)


def test_memory_that_is_not_there_says_what_to_do(cuda: Cuda) -> None:
    with pytest.raises(UnavailableError, match=r"cudaMalloc .*smaller batch"):
        cuda.allocate(1 << 31)
