"""What TensorRT is asked for and refuses before any of it is needed, and what a machine without it is told."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from resnest_edge.backends.base import BuildOptions
from resnest_edge.backends.tensorrt import TensorRTBackend
from resnest_edge.backends.tensorrt.configure import CURRENT
from resnest_edge.backends.tensorrt.flavours import FLAVOURS
from resnest_edge.errors import UnavailableError, UsageError
from resnest_edge.pipeline.runtimes import backend_for
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Precision, QdqStyle, Target
from tests.backends.fake_cuda import FakeRuntime

FP16 = GraphInfo(
    name="tiny",
    precision=Precision.FP16,
    float_type=Precision.FP16,
    style=None,
    weight_bits=8,
    input_format=InputFormat.UINT8_NHWC,
    batch=BatchRange(1, 1, 1),
    image_size=24,
    num_classes=7,
)
INT8 = replace(FP16, precision=Precision.INT8, style=QdqStyle.PORTABLE)
TARGETS = pytest.mark.parametrize("target", [Target.TENSORRT, Target.TENSORRT_RTX], ids=str)
MODULES = {Target.TENSORRT: "tensorrt", Target.TENSORRT_RTX: "tensorrt_rtx"}
EXTRAS = {Target.TENSORRT: "tensorrt", Target.TENSORRT_RTX: "rtx"}


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, object], None]:
    """Decide what importing a module gives: a stand-in, or the exception it raises."""

    def decide(name: str, outcome: object) -> None:
        monkeypatch.delitem(sys.modules, name, raising=False)

        class Finder:
            def find_spec(self, wanted: str, path: object = None, target: object = None) -> None:
                if wanted == name:
                    assert isinstance(outcome, BaseException)
                    raise outcome

        if isinstance(outcome, BaseException):
            monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
        else:
            monkeypatch.setitem(sys.modules, name, outcome)

    return decide


def stand_in(version: str, **names: object) -> types.ModuleType:
    module = types.ModuleType("stand_in")
    vars(module).update(__version__=version, **names)
    return module


@TARGETS
def test_a_missing_module_names_the_extra(target: Target, imports: Callable[[str, object], None]) -> None:
    imports(MODULES[target], ModuleNotFoundError("No module", name=MODULES[target]))
    with pytest.raises(UnavailableError, match="is not installed") as caught:
        TensorRTBackend(target).version()
    assert f"pip install 'resnest-edge[{EXTRAS[target]}]'" in str(caught.value)
    assert ("JetPack" in str(caught.value)) is (target is Target.TENSORRT)


@pytest.mark.parametrize(
    "failure",
    [
        ImportError("libnvinfer.so.10: cannot open shared object file"),
        OSError("libcudart.so.12: cannot open shared object file"),
        ModuleNotFoundError("No module named 'tensorrt_bindings'", name="tensorrt_bindings"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_module_that_does_not_load_gives_its_reason(
    failure: Exception, imports: Callable[[str, object], None]
) -> None:
    imports("tensorrt", failure)
    with pytest.raises(UnavailableError, match="is installed but does not load") as caught:
        TensorRTBackend(Target.TENSORRT).version()
    assert str(failure) in str(caught.value)


@pytest.mark.parametrize(
    ("version", "supported"), [("8.5.2.2", False), ("10.3.0", True), ("11.4.1.3", True), ("12.0", False)]
)
def test_only_versions_this_is_written_for(
    version: str, supported: bool, imports: Callable[[str, object], None]
) -> None:
    imports("tensorrt", stand_in(version))
    backend = TensorRTBackend(Target.TENSORRT)
    if supported:
        assert backend.version() == version
    else:
        with pytest.raises(UnavailableError, match=rf"TensorRT {version} is not supported.*10 and 11"):
            backend.version()


def test_a_machine_without_a_gpu_is_told_so(tmp_path: Path, imports: Callable[[str, object], None]) -> None:
    """Without a driver the bindings get a null pointer, which they report as a TypeError (seen with 10.3 and 11.4)."""

    def no_builder(logger: types.SimpleNamespace) -> None:
        logger.log(types.SimpleNamespace(name="ERROR"), "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    class Base:
        pass

    imports("tensorrt", stand_in("10.3.0", ILogger=Base, IProgressMonitor=Base, Builder=no_builder))
    imports("cuda.bindings.runtime", FakeRuntime())
    imports("pycuda.driver", None)
    with pytest.raises(UnavailableError, match=r"does not start on this machine \(CUDA initialization failure"):
        TensorRTBackend(Target.TENSORRT).build(tmp_path / "any.onnx", FP16, BuildOptions(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@TARGETS
def test_the_cpu_style_is_refused_by_name(target: Target, tmp_path: Path) -> None:
    info = replace(INT8, style=QdqStyle.CPU)
    with pytest.raises(UsageError, match="cpu Q/DQ style"):
        TensorRTBackend(target).build(tmp_path / "any.onnx", info, BuildOptions(), tmp_path)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (Target.TENSORRT, BuildOptions(("8.9",)), "builds for the GPU it runs on"),
        (Target.TENSORRT_RTX, BuildOptions(("8.9", "8.9")), "once"),
        (Target.TENSORRT_RTX, BuildOptions((CURRENT, "8.9")), "cannot be combined"),
        (Target.TENSORRT, BuildOptions(workspace_mib=0), "workspace"),
        (Target.TENSORRT_RTX, BuildOptions(optimization_level=6), "level 6"),
        (Target.TENSORRT, BuildOptions(optimization_level=-1), "level -1"),
        (Target.TENSORRT, BuildOptions(dla_core=-1), "no DLA core -1"),
        (Target.TENSORRT, BuildOptions(version_compatible=True, refittable=True), "cannot be refitted"),
        (Target.TENSORRT, BuildOptions(version_compatible=True, stripped=True), "cannot be refitted"),
        (Target.TENSORRT, BuildOptions(timing_cache=Path("/no/such/folder/cache")), "no such folder"),
        (Target.TENSORRT_RTX, BuildOptions(timing_cache=Path("cache")), "does not take --timing-cache: it times no"),
        (Target.TENSORRT_RTX, BuildOptions(version_compatible=True), "does not take --version-compatible: its engines"),
        (Target.TENSORRT_RTX, BuildOptions(hardware_compatibility="ampere-plus"), "--compute-capability names"),
        (Target.TENSORRT_RTX, BuildOptions(dla_core=0), "have no DLA"),
    ],
)
def test_options_are_refused_before_the_runtime_is_needed(
    target: Target, options: BuildOptions, message: str, tmp_path: Path, imports: Callable[[str, object], None]
) -> None:
    imports(MODULES[target], ModuleNotFoundError("No module", name=MODULES[target]))
    with pytest.raises(UsageError, match=message):
        TensorRTBackend(target).build(tmp_path / "any.onnx", FP16, options, tmp_path)


@TARGETS
def test_what_a_version_or_a_machine_does_not_have_is_refused_before_work(
    target: Target, imports: Callable[[str, object], None]
) -> None:
    """Calibration takes minutes; nobody should wait for it to be told this."""
    levels = types.SimpleNamespace(__members__={"NONE": 0, "AMPERE_PLUS": 1})
    capabilities = types.SimpleNamespace(__members__={"NONE": 0, "CURRENT": 1, "SM89": 2})
    version = "1.7.1" if target is Target.TENSORRT_RTX else "10.3.0"
    library = stand_in(version, HardwareCompatibilityLevel=levels, ComputeCapability=capabilities)
    imports(MODULES[target], library)
    imports("pycuda.driver", None)
    imports("cuda.bindings.runtime", FakeRuntime())
    backend = TensorRTBackend(target)
    backend.check_options(BuildOptions(workspace_mib=64))
    if target is Target.TENSORRT_RTX:
        with pytest.raises(UsageError, match=r"'1\.0' is not one.*current, 8\.9"):
            backend.check_options(BuildOptions(("1.0",)))
    else:
        with pytest.raises(UsageError, match="'same-compute-capability' is not known"):
            backend.check_options(BuildOptions(hardware_compatibility="same-compute-capability"))
    imports("cuda.bindings.runtime", FakeRuntime(driver=False))
    needs_a_gpu = BuildOptions((CURRENT,)) if target is Target.TENSORRT_RTX else BuildOptions()
    with pytest.raises(UnavailableError, match="no usable NVIDIA driver"):
        backend.check_options(needs_a_gpu)


def test_cpu_runtimes_name_the_options_that_they_do_not_take() -> None:
    options = BuildOptions(("8.9",), workspace_mib=64, timing_cache=Path("cache"), progress=print)
    for target in (Target.OPENVINO, Target.ONNXRUNTIME):
        backend_for(target).check_options(BuildOptions(progress=print))
        with pytest.raises(UsageError, match="take --compute-capability, --workspace, --timing-cache: only TensorRT"):
            backend_for(target).check_options(options)


def test_the_dla_takes_one_batch_size(tmp_path: Path) -> None:
    info = replace(FP16, batch=BatchRange(1, 2, 8))
    with pytest.raises(UsageError, match="the DLA takes one batch size, not 1:2:8"):
        TensorRTBackend(Target.TENSORRT).build(tmp_path / "any.onnx", info, BuildOptions(dla_core=0), tmp_path)


def test_every_option_that_is_refused_exists() -> None:
    names = {field.name for field in fields(BuildOptions)}
    assert all(set(flavour.refused) <= names for flavour in FLAVOURS.values())


@TARGETS
def test_every_precision_is_taken_and_int8_is_portable_with_fp16_around_it(target: Target) -> None:
    backend = TensorRTBackend(target)
    for precision in Precision:
        backend.check(precision)
    placement = backend.int8_placement()
    assert (placement.style, placement.float_type, placement.weight_bits) == (QdqStyle.PORTABLE, Precision.FP16, 8)
