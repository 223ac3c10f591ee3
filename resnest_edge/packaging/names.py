"""The programs that packages are for, and what servers accept as the name of a model."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnest_edge.bundle import Bundle


class Consumer(str, Enum):
    """The program that a package is for."""

    DEEPSTREAM = "deepstream"
    TRITON = "triton"
    OPENVINO_MODEL_SERVER = "openvino-model-server"
    ONNX = "onnx"

    def __str__(self) -> str:
        return str(self.value)


def model_name(bundle: Bundle) -> str:
    """The model's name with everything but letters, digits, ``_`` and ``-`` as ``_``: it becomes a folder and a URL."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", bundle.manifest.info.name) or "model"
