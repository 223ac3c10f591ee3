"""Engines of other machines: what differs is said, with the command that builds again; what fits is run."""

from __future__ import annotations

import json
import platform
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from resnest_edge.backends.base import SessionOptions
from resnest_edge.backends.tensorrt.fit import check_fit
from resnest_edge.backends.tensorrt.flavours import FLAVOURS
from resnest_edge.bundle import LABELS, MODEL, Manifest, write_bundle
from resnest_edge.cli.build import command
from resnest_edge.errors import BundleMisfitError, UnavailableError
from resnest_edge.pipeline.runtimes import open_session
from resnest_edge.spec import Precision, Preprocessing, Target
from tests.backends.fake_machine import CLASSES, DYNAMIC_PLAN, INFO, SIDE, World, pictures
from tests.backends.fake_tensorrt import answers, plan

ENGINE = Path("engines/cam/engine.plan")
HERE = {
    "runtime": "10.3.0",
    "os": platform.system(),
    "architecture": platform.machine(),
    "cuda": "12.6",
    "gpu": "Fake Orin",
    "compute_capability": "8.7",
    "profile": [[size, SIDE, SIDE, 3] for size in (1, 2, 8)],
}
RTX = {**HERE, "runtime": "1.7.1.116", "compute_capability": "8.9"}


def fit(target: Target, built_for: dict[str, Any], here: dict[str, Any], **details: Any) -> None:
    check_fit(FLAVOURS[target], ENGINE, {**details, "built_for": built_for}, here)


@pytest.mark.parametrize(
    ("built_for", "details", "said"),
    [
        ({"runtime": "10.13.2"}, {}, "TensorRT 10.13.2 built it and 10.3.0 is here"),
        ({"runtime": "10.3.1"}, {"version_compatible": True}, "TensorRT 10.3.1 built it and 10.3.0 is here"),
        ({"gpu": "A100", "compute_capability": "8.0"}, {}, "compute capability 8.0 there and 8.7 here"),
        ({"gpu": "Orin Nano"}, {}, "GPU Orin Nano there and Fake Orin here"),
        ({"os": "Windows"}, {}, "operating system Windows there and"),
        ({"architecture": "sparc"}, {}, "architecture sparc there and"),
        ({"cuda": "13.0"}, {}, "CUDA of the driver 13.0 there and 12.6 here"),
        ({"profile": [[1, 8, 8, 3]] * 3}, {}, "input shapes"),
        (
            {"gpu": "A100", "compute_capability": "8.0"},
            {"hardware_compatibility": "same-compute-capability"},
            "compute capability 8.0 there",
        ),
    ],
)
def test_what_differs_is_said(built_for: dict[str, Any], details: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleMisfitError, match="does not fit this machine") as caught:
        fit(Target.TENSORRT, {**HERE, **built_for}, HERE, **details)
    assert said in caught.value.what and caught.value.exit_code == 4
    assert f"{caught.value.what};".count(";") == len(built_for)  # and nothing else


@pytest.mark.parametrize(
    ("built_for", "details"),
    [
        ({}, {}),
        ({"cuda": "12.4"}, {}),
        ({"cuda": "11.8"}, {}),
        ({"runtime": "10.0.1"}, {"version_compatible": True}),
        ({"runtime": "9.3.0"}, {"version_compatible": True}),
        ({"gpu": "A100", "compute_capability": "8.0"}, {"hardware_compatibility": "ampere-plus"}),
        ({"gpu": "Orin Nano"}, {"hardware_compatibility": "same-compute-capability"}),
    ],
)
def test_what_may_differ(built_for: dict[str, Any], details: dict[str, Any]) -> None:
    fit(Target.TENSORRT, {**HERE, **built_for}, HERE, **details)


def test_ampere_plus_does_not_reach_back_to_turing() -> None:
    here = {**HERE, "gpu": "T4", "compute_capability": "7.5"}
    with pytest.raises(BundleMisfitError, match=r"GPU Fake Orin there and T4 here; compute capability 8\.7 there"):
        fit(Target.TENSORRT, HERE, here, hardware_compatibility="ampere-plus")


@pytest.mark.parametrize(
    ("named", "capability", "fits"),
    [
        (["8.9", "12.0"], "8.9", True),
        (["8.9", "12.0"], "8.6", False),
        ([], "8.6", True),
        ([], "12.0", True),
        ([], "7.5", False),
        (["7.5"], "7.5", True),
        (["current"], "8.9", True),
        (["current"], "8.6", False),
    ],
)
def test_rtx_engines_are_for_the_gpus_that_were_named(named: list[str], capability: str, fits: bool) -> None:
    there: dict[str, Any] = {**RTX, **dict.fromkeys(("gpu", "cuda"))}
    if "current" not in named:
        there["compute_capability"] = None
    here = {**RTX, "compute_capability": capability}
    if fits:
        fit(Target.TENSORRT_RTX, there, here, compute_capabilities=named)
    else:
        with pytest.raises(BundleMisfitError, match=rf"this GPU has {capability}"):
            fit(Target.TENSORRT_RTX, there, here, compute_capabilities=named)


def test_rtx_engines_are_for_one_release() -> None:
    with pytest.raises(BundleMisfitError, match=r"TensorRT for RTX 1\.7\.1\.116 built it and 1\.8\.0 is here"):
        fit(Target.TENSORRT_RTX, RTX, {**RTX, "runtime": "1.8.0"})


def test_a_manifest_without_a_machine_is_refused() -> None:
    with pytest.raises(BundleMisfitError, match="does not say which machine"):
        check_fit(FLAVOURS[Target.TENSORRT], ENGINE, {}, HERE)


def test_the_command_that_builds_again_is_one_that_the_command_line_takes() -> None:
    details = {"optimization_level": 5, "dla_core": 0, "hardware_compatibility": "ampere-plus", "stripped": True}
    with pytest.raises(BundleMisfitError) as caught:
        fit(Target.TENSORRT, {**HERE, "runtime": "10.7.0"}, HERE, **details)
    words = shlex.split(str(caught.value.hint).partition(": ")[2])
    assert words[:5] == ["resnest-edge", "build", "engines/cam", "--target", "tensorrt"]
    assert words[-2:] == ["--out", "engines/cam-here"]
    options = [word for word in words if word.startswith("--")]
    app = typer.Typer()
    app.command()(command)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    assert len(options) == 6 and all(option in shown for option in options)


def test_an_rtx_engine_is_built_again_for_the_gpu_that_is_here() -> None:
    """Also where its default would not reach this GPU."""
    with pytest.raises(BundleMisfitError, match="--target tensorrt-rtx --compute-capability current --out"):
        fit(Target.TENSORRT_RTX, RTX, {**RTX, "compute_capability": "7.5"})


def test_an_engine_that_does_not_load_says_how_to_build_it_again(world: World) -> None:
    folder = write(world, b"another vendor's bytes", {"built_for": HERE, "optimization_level": 2})
    with pytest.raises(BundleMisfitError, match="cannot load this engine") as caught:
        open_session(folder)
    assert f"resnest-edge build {folder} --target tensorrt --optimization-level 2" in str(caught.value.hint)


def write(world: World, data: bytes, details: dict[str, Any]) -> Path:
    """A bundle around a fake engine."""
    folder = world.folder / "cam"
    folder.mkdir()
    (folder / "engine.plan").write_bytes(data)
    (folder / MODEL).write_bytes(b"the graph")
    manifest = Manifest(
        INFO,
        Preprocessing(image_size=SIDE, resize=SIDE),
        Target.TENSORRT,
        "engine.plan",
        Precision.FP16,
        details=details,
    )
    write_bundle(folder, manifest, tuple("abcde"))
    assert (folder / LABELS).is_file() and json.loads((folder / "manifest.json").read_text())["details"] == details
    return folder


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    made = World(monkeypatch, tmp_path)
    made.load(batch=1).close()  # makes its library the one that is imported
    return made


def test_a_bundle_of_this_machine_runs(world: World) -> None:
    folder = write(world, DYNAMIC_PLAN, {"built_for": HERE})
    images = pictures(5)
    with open_session(folder, SessionOptions(batch=2)) as session:
        assert np.array_equal(session.run(images).logits, answers(images, CLASSES)[0])
    assert not world.library.runtimes[-1].engine_host_code_allowed


def test_a_bundle_of_another_machine_names_its_folder(world: World) -> None:
    folder = write(world, DYNAMIC_PLAN, {"built_for": {**HERE, "gpu": "Thor", "compute_capability": "11.0"}})
    with pytest.raises(BundleMisfitError, match=r"compute capability 11\.0 there and 8\.7 here") as caught:
        open_session(folder)
    assert f"resnest-edge build {folder} --target tensorrt --out {folder}-here" in str(caught.value)


def test_only_a_version_compatible_engine_may_bring_code(world: World) -> None:
    older = {**HERE, "runtime": "10.0.1"}
    open_session(write(world, DYNAMIC_PLAN, {"built_for": older, "version_compatible": True})).close()
    assert world.library.runtimes[-1].engine_host_code_allowed


def test_a_stripped_engine_gets_its_weights_from_the_bundles_graph(world: World) -> None:
    data = plan([-1, SIDE, SIDE, 3], CLASSES, (1, 2, 8), weights=False)
    folder = write(world, data, {"built_for": HERE, "stripped": True, "weights": MODEL})
    images = pictures(2)
    with open_session(folder, SessionOptions(batch=2)) as session:
        assert np.array_equal(session.run(images).logits, answers(images, CLASSES)[0])


def test_weights_that_do_not_fit_are_named(world: World) -> None:
    data = plan([-1, SIDE, SIDE, 3], CLASSES, (1, 2, 8), weights=False)
    folder = write(world, data, {"built_for": HERE, "stripped": True, "weights": LABELS})
    with pytest.raises(BundleMisfitError, match=r"weights are missing: stem\.conv1\.weight"):
        open_session(folder)


def test_no_gpu_is_exit_code_3(world: World) -> None:
    folder = write(world, DYNAMIC_PLAN, {"built_for": HERE})
    world.runtime.driver = False
    with pytest.raises(UnavailableError) as caught:
        open_session(folder)
    assert caught.value.exit_code == 3
