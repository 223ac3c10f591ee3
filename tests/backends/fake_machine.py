"""A machine with a fake GPU and a fake TensorRT."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from resnest_edge.backends.base import Session, SessionOptions
from resnest_edge.backends.tensorrt import TensorRTBackend
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Precision, Target
from tests.backends.fake_cuda import FakeRuntime
from tests.backends.fake_pycuda import fake_driver
from tests.backends.fake_tensorrt import fake_library, plan, write_plan

SIDE, CLASSES = 8, 5
INFO = GraphInfo(
    name="fake",
    precision=Precision.FP16,
    float_type=Precision.FP16,
    style=None,
    weight_bits=8,
    input_format=InputFormat.UINT8_NHWC,
    batch=BatchRange(1, 2, 8),
    image_size=SIDE,
    num_classes=CLASSES,
)
DYNAMIC_PLAN = plan([-1, SIDE, SIDE, 3], CLASSES, (1, 2, 8))
MODULES = {Target.TENSORRT: "tensorrt", Target.TENSORRT_RTX: "tensorrt_rtx"}


class World:
    """Puts the stand-ins where the real modules are imported from, and loads engines there."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.runtime = FakeRuntime()
        self.library = fake_library(self.runtime)
        self.folder = folder
        self._patch = patch
        patch.setitem(sys.modules, "cuda.bindings.runtime", self.runtime)
        patch.setitem(sys.modules, "pycuda.driver", None)  # None: importing it fails

    def use_pycuda(self) -> None:
        self._patch.setitem(sys.modules, "pycuda.driver", fake_driver(self.runtime))

    def load(
        self,
        data: bytes = DYNAMIC_PLAN,
        info: GraphInfo = INFO,
        built: dict[str, Any] | None = None,
        *,
        target: Target = Target.TENSORRT,
        **options: int,
    ) -> Session:
        self._patch.setitem(sys.modules, MODULES[target], self.library)
        engine = write_plan(self.folder, data)
        return TensorRTBackend(target).load(engine, info, SessionOptions(**options), built)

    def check_nothing_is_left(self) -> None:
        gc.collect()
        assert not +self.runtime.live
        assert not list(self.library.contexts) and not list(self.library.engines)


def pictures(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
