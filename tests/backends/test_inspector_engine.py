"""The inspector asked through a stand-in for TensorRT: what loads, what is refused, and why."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resnest_edge.backends.tensorrt import inspector
from resnest_edge.backends.tensorrt.flavours import FLAVOURS
from resnest_edge.errors import BundleMisfitError, UnavailableError
from resnest_edge.spec import Target

ANSWER = json.dumps({"Layers": ["stem.conv1 + Relu"], "Bindings": ["images"]})
FLAVOUR = FLAVOURS[Target.TENSORRT]


class Runtime:
    """Deserialises anything, unless told what to complain of."""

    made: list[Runtime]
    complaint: str | None = None
    starts = True

    def __init__(self, logger: Any) -> None:
        if not self.starts:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.logger, self.engine_host_code_allowed = logger, False
        Runtime.made.append(self)

    def deserialize_cuda_engine(self, data: bytes) -> Any:
        assert data == b"plan"
        if self.complaint is not None:
            self.logger.log(SimpleNamespace(name="ERROR"), self.complaint)
            return None
        asked = SimpleNamespace(get_engine_information=lambda form: ANSWER if form == "JSON" else "")
        return SimpleNamespace(create_engine_inspector=lambda: asked)


class ILogger:
    """The vendor's base class."""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    form = SimpleNamespace(JSON="JSON", ONELINE="ONELINE")
    library = SimpleNamespace(Runtime=Runtime, ILogger=ILogger, LayerInformationFormat=form)
    monkeypatch.setattr(inspector, "load_library", lambda flavour: library)
    monkeypatch.setattr(Runtime, "made", [], raising=False)
    path = tmp_path / "engine.plan"
    path.write_bytes(b"plan")
    return path


def test_an_engine_that_loads_is_read(engine: Path) -> None:
    information = inspector.inspect_engine(FLAVOUR, engine, {})
    assert information.tensors == ["images"] and not information.detailed
    assert information.layers[0].origins == ("stem.conv1", "Relu")
    assert not Runtime.made[0].engine_host_code_allowed


def test_a_version_compatible_engine_may_bring_its_own_host_code(engine: Path) -> None:
    inspector.inspect_engine(FLAVOUR, engine, {"version_compatible": True})
    assert Runtime.made[0].engine_host_code_allowed


@pytest.mark.parametrize(
    ("complaint", "error"),
    [
        ("CUDA driver version is insufficient for CUDA runtime version", UnavailableError),
        ("no CUDA-capable device is detected", UnavailableError),
        ("The engine plan file is not compatible with this version of TensorRT", BundleMisfitError),
    ],
)
def test_why_an_engine_does_not_load(
    engine: Path, complaint: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runtime, "complaint", complaint)
    with pytest.raises(error, match=complaint):
        inspector.inspect_engine(FLAVOUR, engine, {})


def test_a_runtime_that_does_not_start_is_said(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "starts", False)
    with pytest.raises(BundleMisfitError, match="gave no reason"):
        inspector.inspect_engine(FLAVOUR, engine, {})
