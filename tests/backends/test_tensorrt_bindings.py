"""Every name the adapter touches exists in the real bindings: TensorRT 10.3 and 11.4 without their libraries, and RTX.

The bindings wheels load three shared libraries and need nine C functions of them; placeholders that are compiled here
stand in. This proves names, not behaviour.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.backends.touched import BASES, GIVES, VENDOR, touched_names, unclassified

WHEELS = {"10.3": "tensorrt-cu12-bindings==10.3.0", "11.4": "tensorrt-cu12-bindings==11.4.*"}
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getPluginRegistry",
    "getBuilderPluginRegistry",
    "initLibNvInferPlugins",
    "getNvOnnxParserVersion",
)
ONLY_RTX = {
    "ComputeCapability",
    "ComputeCapability.__members__",
    "DynamicShapesKernelSpecializationStrategy",
    "DynamicShapesKernelSpecializationStrategy.EAGER",
    "IBuilderConfig.get_compute_capability",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "IExecutionContext.is_stream_capturable",
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
}
"""What the rows ``names_gpus`` and ``compiles_on_load`` of ``flavours.py`` keep from TensorRT 10 and 11."""

NOT_YET = {"10.3": {"ICudaEngine.create_runtime_config"}, "11.4": set[str]()}
"""What came to TensorRT later, and is touched for RTX only."""

LOOK_UP = """
import importlib, json, sys

library = importlib.import_module(sys.argv[1])

def known(name):
    thing = library
    for part in name.split("."):
        if not hasattr(thing, part):
            return False
        thing = getattr(thing, part)
    return True

missing = [names for names in json.load(sys.stdin) if not any(known(name) for name in names.split("|"))]
json.dump({"version": library.__version__, "missing": sorted(missing)}, sys.stdout)
"""


def look_up(module: str, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-c", LOOK_UP, module]
    names = json.dumps(sorted(touched_names()))
    environment = {**os.environ, **environment}
    ran = subprocess.run(command, input=names, capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def test_every_untyped_variable_of_the_adapter_is_classified() -> None:
    """A variable that the tables do not know would be touched unchecked: say in touched.py what it holds."""
    assert unclassified(plain={"severity"}) == {}


def test_the_tables_are_used() -> None:
    names = touched_names()
    owners = {name.split(".")[0] for alternatives in names for name in alternatives.split("|")}
    classes = {owner for owners in VENDOR.values() for owner in owners if owner}
    assert classes <= owners and set(GIVES.values()) <= owners and {base for base, _ in BASES.values()} <= owners
    assert {"Builder.build_serialized_network", "BuilderFlag.TF32", "LayerType.CONVOLUTION"} <= names


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="needs TensorRT for RTX")
def test_every_name_is_in_tensorrt_for_rtx() -> None:
    assert look_up("tensorrt_rtx")["missing"] == []


@pytest.mark.slow
@pytest.mark.parametrize("version", WHEELS)
def test_every_name_is_in_the_bindings_of_tensorrt(version: str, tmp_path: Path) -> None:
    fetch_bindings(WHEELS[version], tmp_path)
    compile_placeholders(version.partition(".")[0], tmp_path)
    found = look_up("tensorrt_bindings", PYTHONPATH=str(tmp_path), LD_LIBRARY_PATH=str(tmp_path))
    assert found["version"].startswith(version)
    assert set(found["missing"]) == ONLY_RTX | NOT_YET[version]


def fetch_bindings(requirement: str, folder: Path) -> None:
    """Unpack a bindings wheel into a folder, or skip where none can be had for this Python."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--retries=1", "--timeout=10", "--dest", str(folder), requirement]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if ran.returncode != 0 or not wheels:
        pytest.skip(f"{requirement} cannot be installed here: {ran.stderr.strip().splitlines()[-1:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder)


def compile_placeholders(major: str, folder: Path) -> None:
    """Three shared libraries whose functions give null pointers."""
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("needs a C compiler for the placeholder libraries")
    source = folder / "placeholder.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    for library in LIBRARIES:
        name = f"lib{library}.so.{major}"
        options = ["-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
        subprocess.run([compiler, *options], check=True, capture_output=True)
