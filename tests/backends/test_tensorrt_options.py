"""Build options as TensorRT's configuration gets them, over stand-ins whose names are the real bindings' names."""

from __future__ import annotations

import enum
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from resnest_edge.backends.base import BuildOptions
from resnest_edge.backends.tensorrt.configure import Configuration
from resnest_edge.backends.tensorrt.flavours import FLAVOURS
from resnest_edge.backends.tensorrt.library import Messages, make_monitor
from resnest_edge.errors import GraphError, OutputError, UnavailableError, UsageError
from resnest_edge.spec import BatchRange, Precision, QdqStyle, Target
from tests.backends import fake_builder, fake_tensorrt
from tests.backends.fake_builder import Builder, BuilderFlag, DeviceType, INetworkDefinition, fake_builder_library
from tests.backends.fake_machine import INFO
from tests.backends.touched import touched_names

FP16 = replace(INFO, batch=BatchRange(1, 1, 1))
INT8 = replace(FP16, precision=Precision.INT8, style=QdqStyle.PORTABLE)
TENSORRT = FLAVOURS[Target.TENSORRT]


def configure(
    options: BuildOptions, version: str = "10.3.0", *, cores: int = 2, layers: int = 4, info: Any = FP16
) -> tuple[Configuration, Any]:
    """Everything that a build does to a configuration before it begins."""
    messages = Messages()
    builder = Builder(messages, cores)
    configuration = Configuration(TENSORRT, fake_builder_library(version), builder, options, messages)
    configuration.use_dla(builder, INetworkDefinition(layers), info)
    configuration.read_cache()
    return configuration, configuration.config


def test_without_options_only_tf32_and_the_inspectors_verbosity_change() -> None:
    configuration, config = configure(BuildOptions())
    assert config._flags == set()
    assert config.profiling_verbosity is fake_builder.ProfilingVerbosity.DETAILED
    assert configuration.settings() == {"workspace_mib": 65536, "optimization_level": 3}


@pytest.mark.parametrize(
    ("options", "flags", "settings"),
    [
        (BuildOptions(version_compatible=True), {BuilderFlag.VERSION_COMPATIBLE}, {"version_compatible": True}),
        (BuildOptions(refittable=True), {BuilderFlag.REFIT}, {"refittable": True}),
        (BuildOptions(stripped=True), {BuilderFlag.STRIP_PLAN, BuilderFlag.REFIT_IDENTICAL}, {"stripped": True}),
        (
            BuildOptions(stripped=True, refittable=True),
            {BuilderFlag.STRIP_PLAN, BuilderFlag.REFIT},
            {"stripped": True, "refittable": True},
        ),
        (BuildOptions(workspace_mib=256, optimization_level=5), set(), {"workspace_mib": 256, "optimization_level": 5}),
    ],
)
def test_flags(options: BuildOptions, flags: set[BuilderFlag], settings: dict[str, Any]) -> None:
    configuration, config = configure(options)
    assert config._flags == flags
    assert configuration.settings() == {"workspace_mib": 65536, "optimization_level": 3, **settings}


@pytest.mark.parametrize(
    ("version", "text", "known"),
    [
        ("10.3.0", "ampere-plus", True),
        ("10.3.0", "same-compute-capability", False),
        ("11.4.1", "same-compute-capability", True),
        ("11.4.1", "everything", False),
    ],
)
def test_hardware_compatibility_is_what_the_version_knows(version: str, text: str, known: bool) -> None:
    options = BuildOptions(hardware_compatibility=text)
    if known:
        configuration, config = configure(options, version)
        assert config.hardware_compatibility_level.name.lower().replace("_", "-") == text
        assert configuration.settings()["hardware_compatibility"] == text
    else:
        with pytest.raises(UsageError, match=rf"'{text}' is not known to this version.*ampere-plus"):
            configure(options, version)


@pytest.mark.parametrize(("version", "info"), [("10.3.0", FP16), ("10.7.0", FP16), ("11.4.1", FP16), ("11.4.1", INT8)])
def test_a_dla_core_with_the_gpu_as_fallback(version: str, info: Any) -> None:
    configuration, config = configure(BuildOptions(dla_core=0), version, layers=5, info=info)
    assert (config.default_device_type, config.DLA_core) == (DeviceType.DLA, 0)
    assert config._flags == {BuilderFlag.GPU_FALLBACK}
    settings = configuration.settings()
    assert (settings["dla_core"], settings["dla_layers"]) == (0, 3)


@pytest.mark.parametrize("version", ["10.8.0", "10.13.3", "11.0.0", "11.3.0"])
def test_versions_without_the_dla_say_which_have_it(version: str) -> None:
    with pytest.raises(UsageError, match=rf"{version} does not build for the DLA.*10\.0 to 10\.7, 11\.4"):
        configure(BuildOptions(dla_core=0), version)


def test_what_the_dla_cannot_run_is_refused() -> None:
    with pytest.raises(UsageError, match=r"10\.3\.0 does not run int8 graphs.*--precision fp16"):
        configure(BuildOptions(dla_core=0), info=INT8)
    with pytest.raises(UsageError, match="does not run fp32 graphs"):
        configure(BuildOptions(dla_core=0), "11.4.1", info=replace(FP16, precision=Precision.FP32))
    with pytest.raises(UnavailableError, match="no DLA core 2 here: this device has 2"):
        configure(BuildOptions(dla_core=2))
    with pytest.raises(GraphError, match="none of this graph's 0 layers"):
        configure(BuildOptions(dla_core=0), layers=0)


def test_a_timing_cache_begins_grows_and_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    options = BuildOptions(timing_cache=path)
    configuration, _ = configure(options)
    assert not path.exists()  # not before the build has succeeded
    configuration.write_cache()
    assert path.read_bytes() == b"cache of this GPU+"
    configuration, _ = configure(options)
    configuration.write_cache()
    assert path.read_bytes() == b"cache of this GPU++"
    assert [file.name for file in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("content", [b"cache of another GPU", b"junk"], ids=["another GPU", "junk"])
def test_a_timing_cache_of_something_else_is_refused_and_kept(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cache"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no timing cache of this version and GPU") as caught:
        configure(BuildOptions(timing_cache=path))
    assert caught.value.where == str(path) and path.read_bytes() == content


def test_a_timing_cache_that_cannot_be_used_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        configure(BuildOptions(timing_cache=tmp_path))
    configuration, _ = configure(BuildOptions(timing_cache=tmp_path / "gone" / "cache"))
    (tmp_path / "gone").write_text("a file now")
    with pytest.raises(OutputError):
        configuration.write_cache()


def test_progress_is_told_for_phases_with_steps_and_stops_when_asked() -> None:
    told: list[tuple[str, int, int | None]] = []
    stop = threading.Event()
    monitor = make_monitor(fake_builder_library("10.3.0"), stop, lambda *step: told.append(step))
    monitor.phase_start("Building engine", None, 1)
    monitor.phase_start("Timing graph nodes", "Building engine", 3)
    assert monitor.step_complete("Timing graph nodes", 0)
    assert monitor.step_complete("Building engine", 0)  # one step tells nothing
    stop.set()
    assert not monitor.step_complete("Timing graph nodes", 1)
    monitor.phase_finish("Timing graph nodes")
    monitor.phase_finish("Building engine")
    assert told == [("Timing graph nodes", 1, 3), ("Timing graph nodes", 2, 3), ("Timing graph nodes", 3, 3)]


def test_a_monitor_that_tells_nobody_still_stops() -> None:
    stop = threading.Event()
    monitor = make_monitor(fake_builder_library("11.4.1"), stop, None)
    assert monitor.step_complete("never begun", 0)
    stop.set()
    assert not monitor.step_complete("never begun", 0)


@pytest.mark.parametrize("module", [fake_builder, fake_tensorrt], ids=lambda module: module.__name__.split(".")[-1])
def test_the_stand_ins_have_no_names_but_the_vendors(module: ModuleType) -> None:
    """What the adapter touches is looked up in the real bindings; a stand-in may offer nothing beyond that."""
    real = {name for alternatives in touched_names() for name in alternatives.split("|")}
    for name, value in vars(module).items():
        if not isinstance(value, type) or value.__module__ != module.__name__ or issubclass(value, enum.Enum):
            continue
        offered = {f"{name}.{member}" for member in vars(value) if not member.startswith("_")}
        assert offered <= real, name
