"""Engines on a real GPU. Marked ``gpu``: `make gpu-check` runs them, no other target does.

They were written on a machine without a GPU, and run on none so far.
"""

from __future__ import annotations

import importlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnest_edge.backends.base import BuildOptions, Outputs, Session, SessionOptions
from resnest_edge.backends.cuda import CudaPython, load_cuda
from resnest_edge.backends.tensorrt import TensorRTBackend
from resnest_edge.errors import BundleMisfitError, UnavailableError
from resnest_edge.forms import UNIFORM
from resnest_edge.graph.model import save_graph
from resnest_edge.manifest import encode_manifest
from resnest_edge.pipeline.bundles import Origin, build_bundle
from resnest_edge.pipeline.runtimes import open_session
from resnest_edge.pipeline.typed import TypedGraph
from resnest_edge.spec import Form, InputFormat, Precision, Preprocessing, Target
from tests.backends.typed_graphs import typed_graph
from tests.gpu.comparison import FLOORS_DB, check_against, pictures, reference_answers, reference_graph
from tests.support.tiny import CLASSES, IMAGE_SIZE

pytestmark = pytest.mark.gpu
BLOCKS = [(0, 1), (1, 1), (2, 1), (2, 2), (4, 1)]
MEMORY_SLACK = 4 << 20  # of the driver's own bookkeeping


@pytest.fixture(params=[Target.TENSORRT, Target.TENSORRT_RTX], ids=str)
def backend(request: pytest.FixtureRequest) -> TensorRTBackend:
    """Each runtime that is here, with a GPU; the others skip and say what is missing."""
    found = TensorRTBackend(request.param)
    try:
        found.version()
        load_cuda()
    except UnavailableError as exc:
        pytest.skip(str(exc))
    return found


def build(
    backend: TensorRTBackend, typed: TypedGraph, folder: Path, options: BuildOptions | None = None
) -> tuple[Path, dict[str, Any]]:
    """An engine for the GPU here, and the details of its build."""
    if options is None:
        current = ("current",) if backend.target is Target.TENSORRT_RTX else ()
        options = BuildOptions(compute_capabilities=current)
    save_graph(typed.model, folder / "model.onnx")
    built = backend.build(folder / "model.onnx", typed.info, options, folder)
    return folder / built.files[0], built.details


def load(backend: TensorRTBackend, typed: TypedGraph, folder: Path, **options: int) -> Session:
    engine, details = build(backend, typed, folder)
    return backend.load(engine, typed.info, SessionOptions(**options), details)


@pytest.mark.parametrize(("radix", "cardinality"), BLOCKS)
@pytest.mark.parametrize("precision", list(Precision), ids=str)
def test_every_block_in_every_precision(
    precision: Precision, radix: int, cardinality: int, backend: TensorRTBackend, tmp_path: Path
) -> None:
    typed = typed_graph(precision, radix, cardinality)
    reference = reference_graph(precision, radix, cardinality, Form.SPLIT)
    with load(backend, typed, tmp_path, batch=2) as session:
        check_against(session, reference, pictures(5), FLOORS_DB[precision])


@pytest.mark.parametrize("form", UNIFORM, ids=str)
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8], ids=str)
def test_every_form(precision: Precision, form: Form, backend: TensorRTBackend, tmp_path: Path) -> None:
    with load(backend, typed_graph(precision, form=form), tmp_path, batch=4) as session:
        check_against(session, reference_graph(precision, 2, 1, form), pictures(8), FLOORS_DB[precision])


def test_a_fixed_batch_of_floats(backend: TensorRTBackend, tmp_path: Path) -> None:
    shape = InputFormat.FLOAT_NCHW
    typed, reference = (typed_graph(kind, batch="2", input_format=shape) for kind in (Precision.FP16, Precision.FP32))
    with load(backend, typed, tmp_path, batch=2) as session:
        check_against(session, reference, pictures(2, shape), FLOORS_DB[Precision.FP16])


def test_many_threads_and_streams_give_each_its_own_answer(backend: TensorRTBackend, tmp_path: Path) -> None:
    """Bit for bit what one stream gives: the kernels are the same, and nothing is shared."""
    engine, details = build(backend, typed := typed_graph(Precision.FP16), tmp_path)
    batches = [pictures(4, seed=seed) for seed in range(64)]
    with backend.load(engine, typed.info, SessionOptions(batch=4), details) as session:
        alone = [session.run(images).logits for images in batches]
    with (
        backend.load(engine, typed.info, SessionOptions(batch=4, streams=4), details) as session,
        ThreadPoolExecutor(8) as threads,
    ):
        for wanted, given in zip(alone, threads.map(session.run, batches), strict=True):
            assert np.array_equal(given.logits, wanted)


def test_graphs_are_captured_and_clocks_tick(backend: TensorRTBackend, tmp_path: Path) -> None:
    with load(backend, typed_graph(Precision.FP16), tmp_path, batch=2, streams=2) as session:
        session.run(pictures(8))
        timings, settings = session.timings(), session.effective_settings()
    assert settings["cuda_graph"] is load_cuda().captures, settings
    assert set(timings) == {"h2d_ms", "gpu_ms", "d2h_ms", "enqueue_ms"} and min(timings.values()) > 0


def free_memory() -> int:
    runtime = importlib.import_module("cuda.bindings.runtime")
    error, free, _ = runtime.cudaMemGetInfo()
    assert error == runtime.cudaError_t.cudaSuccess
    return int(free)


def test_ten_thousand_runs_and_fifty_sessions_leak_nothing(backend: TensorRTBackend, tmp_path: Path) -> None:
    if not isinstance(load_cuda(), CudaPython):
        pytest.skip("asks cuda-python how much memory is free")
    engine, details = build(backend, typed := typed_graph(Precision.FP16), tmp_path)
    images = pictures(1)
    with backend.load(engine, typed.info, SessionOptions(), details) as session:
        session.run(images)
        before = free_memory()
        for _ in range(10_000):
            session.submit(images).result()
        assert free_memory() >= before - MEMORY_SLACK
    after = free_memory()
    for _ in range(50):
        backend.load(engine, typed.info, SessionOptions(streams=2), details).close()
    assert free_memory() >= after - MEMORY_SLACK


@pytest.mark.parametrize("interface", ["dlpack", "cuda array interface"])
def test_pytorchs_tensors_are_read_where_they_are(interface: str, backend: TensorRTBackend, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    images = pictures(2)

    class Interface:
        def __init__(self, tensor: Any) -> None:
            self.tensor = tensor
            self.__cuda_array_interface__ = {**tensor.__cuda_array_interface__, "stream": 1, "version": 3}

    with load(backend, typed_graph(Precision.FP16), tmp_path, batch=2) as session:
        wanted = session.run(images).logits
        tensor = torch.from_numpy(images).cuda()
        array: Any = tensor if interface == "dlpack" else Interface(tensor)
        given = session.run(array)
        assert np.array_equal(given.logits, wanted)
        assert np.array_equal(session.run(images).logits, wanted)


def test_a_stripped_engine_answers_as_a_whole_one(backend: TensorRTBackend, tmp_path: Path) -> None:
    typed = typed_graph(Precision.FP16)
    current = ("current",) if backend.target is Target.TENSORRT_RTX else ()
    engine, details = build(backend, typed, tmp_path, BuildOptions(compute_capabilities=current, stripped=True))
    with backend.load(engine, typed.info, SessionOptions(batch=2), details) as session:
        check_against(session, reference_graph(Precision.FP16, 2, 1, Form.SPLIT), pictures(4), 40.0)


def test_a_timing_cache_is_written_and_read(tmp_path: Path) -> None:
    backend = TensorRTBackend(Target.TENSORRT)
    try:
        backend.version()
        load_cuda()
    except UnavailableError as exc:
        pytest.skip(str(exc))
    cache = tmp_path / "cache"
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        build(backend, typed_graph(Precision.FP16), tmp_path / name, BuildOptions(timing_cache=cache))
        assert cache.stat().st_size > 0


@pytest.fixture
def bundle(backend: TensorRTBackend, tmp_path: Path) -> Path:
    typed = typed_graph(Precision.FP16)
    current = ("current",) if backend.target is Target.TENSORRT_RTX else ()
    preprocessing = Preprocessing(image_size=IMAGE_SIZE, resize=IMAGE_SIZE)
    origin = Origin(preprocessing, tuple(map(str, range(CLASSES))))
    options = BuildOptions(compute_capabilities=current)
    return build_bundle(typed, backend, origin, tmp_path / "cam", force=False, options=options).path


def test_a_bundle_runs_and_one_of_another_gpu_does_not(bundle: Path) -> None:
    images = pictures(3)
    with open_session(bundle) as session:
        answer = session.run(images)
    wanted = reference_answers(reference_graph(Precision.FP16, 2, 1, Form.SPLIT), images)
    assert np.abs(answer.probabilities - wanted.probabilities).max() < 0.05
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["details"]["built_for"]["compute_capability"] = "5.2"
    manifest["details"]["built_for"]["os"] = "another"
    (bundle / "manifest.json").write_bytes(encode_manifest(manifest))
    with pytest.raises(BundleMisfitError, match="operating system another there"):
        open_session(bundle)


def test_sessions_are_opened_and_closed_from_many_threads(bundle: Path) -> None:
    images = pictures(1)

    def answer(_: int) -> Outputs:
        with open_session(bundle) as session:
            return session.run(images)

    with ThreadPoolExecutor(4) as threads:
        first, *others = threads.map(answer, range(8))
    assert all(np.array_equal(first.logits, other.logits) for other in others)
