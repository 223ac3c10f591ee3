"""A tiny network, and its weights in files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnest_edge.models.config import ResNeStConfig
from resnest_edge.models.resnest import ResNeSt
from tests.support.networks import randomise

TINY = ResNeStConfig((1, 2, 1, 1), stem_width=4, planes=(8, 16, 16, 24))


def tiny(config: ResNeStConfig = TINY, num_classes: int = 5) -> ResNeSt:
    torch.manual_seed(0)
    return randomise(ResNeSt(config, num_classes)).eval()


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def write(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def write_old(content: Any, path: Path) -> None:
    """The format of PyTorch before 1.6, which the authors' files have."""
    torch.save(content, path, _use_new_zipfile_serialization=False)
