"""Tiny core graphs, exported once a session: an export takes seconds, so every test shares these and changes none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from resnest_edge.graph.export import export_graph
from resnest_edge.graph.simplify import simplify_graph
from resnest_edge.models.config import ResNeStConfig
from resnest_edge.models.inference_form import InferenceResNeSt, to_inference_form
from resnest_edge.models.resnest import ResNeSt
from resnest_edge.spec import BatchRange, Form
from tests.support.networks import randomise

IMAGE_SIZE = 24
CLASSES = 7

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"radix": 0},
    "radix 1": {"radix": 1},
    "split": {"blocks": 3},
    "grouped": {"form": Form.GROUPED},
    "dense": {"form": Form.DENSE, "cardinality": 2},
    "radix 4": {"radix": 4, "cardinality": 2},
}
"""Every kind of block, as arguments of :func:`tiny_core`."""


@dataclass(frozen=True)
class Tiny:
    """A tiny network in inference form, as exported, and its core graph (simplified). Clone before changing."""

    module: InferenceResNeSt
    exported: ir.Model
    core: ir.Model


def tiny_core(
    radix: int = 2, cardinality: int = 1, form: Form = Form.SPLIT, *, batch: str = "1:2:8", blocks: int = 2
) -> Tiny:
    """Export a tiny randomised ResNeSt.

    Two blocks are a downsampling block and one that pools as well; the third has the identity as its shortcut.
    """
    return _exported(radix, cardinality, form, batch, blocks)


@cache  # a cache tells ``f(2)`` from ``f(radix=2)``; here every call arrives spelled alike
def _exported(radix: int, cardinality: int, form: Form, batch: str, blocks: int) -> Tiny:
    module = tiny_module(radix, cardinality, form, blocks=blocks)
    exported = export_graph(module, image_size=IMAGE_SIZE, batch=BatchRange.parse(batch))
    return Tiny(module, exported, simplify_graph(exported))


def tiny_module(radix: int, cardinality: int, form: Form, *, blocks: int = 2) -> InferenceResNeSt:
    """A randomised network of two stages, of one block and of ``blocks − 1``."""
    torch.manual_seed(0)
    config = ResNeStConfig(
        (1, max(blocks - 1, 1), 1, 1), radix=radix, cardinality=cardinality, stem_width=8, planes=(16, 16, 16, 16)
    )
    module = to_inference_form(randomise(ResNeSt(config, CLASSES)), form)
    for number in range(min(blocks, 2) + 1, 5):
        setattr(module, f"layer{number}", nn.Identity())
    return module
