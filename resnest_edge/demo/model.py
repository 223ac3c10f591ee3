"""The demo model: a ResNeSt of the paper's blocks at a quarter of their width, trained by ``scripts/train_demo.py``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_edge.spec import Preprocessing

if TYPE_CHECKING:
    from resnest_edge.models.config import ResNeStConfig

NAME = "resnest-demo"
NUM_CLASSES = 10


def demo_config() -> ResNeStConfig:
    """Radix 2, cardinality 1, one block a stage."""
    from resnest_edge.models.config import ResNeStConfig

    return ResNeStConfig((1, 1, 1, 1), radix=2, cardinality=1, stem_width=16, planes=(16, 32, 64, 128))


def demo_preprocessing() -> Preprocessing:
    """The central 96 of the scenes' 112 pixels."""
    return Preprocessing(image_size=96, resize=112)


def weights_path() -> Path:
    """The shipped checkpoint: weights of more than one dimension in float16, the rest in float32."""
    return Path(str(files("resnest_edge.demo").joinpath("resnest-demo.safetensors")))
