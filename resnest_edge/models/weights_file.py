"""Files of weights, of many kinds, as one state dict. Nothing here knows what network they are of."""

from __future__ import annotations

import argparse
import re
import struct
import warnings
from pathlib import Path
from pickle import UnpicklingError  # only the name of torch.load's error: nothing is unpickled here
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from resnest_edge.errors import CheckpointError

_PYTORCH_SUFFIXES = (".pth", ".pt", ".tar")
_AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
_TRAINED = ("state_dict", "model_state_dict", "model_state", "model")
_INNER = ("module",)
_PREFIXES = ("module.", "_orig_mod.", "model.")
COUNTER = "num_batches_tracked"
_AVERAGE_COUNTER = "n_averaged"  # of torch.optim.swa_utils.AveragedModel
# What torch.load raises on bytes that are no checkpoint depends on the opcodes they happen to spell.
_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
State = dict[str, Tensor]


class Weights(NamedTuple):
    """What a file holds: bare names to tensors, which entry of a training checkpoint they are, and its metadata."""

    state: State
    entry: str
    metadata: dict[str, str]


def read_weights(path: Path, *, prefer_ema: bool) -> Weights:
    """Read a file as :func:`resnest_edge.models.checkpoint.read_checkpoint` describes.

    Raises:
        CheckpointError: no such file, damaged, needs more than weights to be unpickled, or holds a NaN or infinity.
    """
    if not path.is_file():
        raise CheckpointError("no such weights file", where=path, hint="Check --weights.")
    metadata: dict[str, str] = {}
    if path.suffix == ".safetensors":
        content, metadata = _read_safetensors(path)
    elif path.suffix in _PYTORCH_SUFFIXES:
        content = _read_pytorch(path)
    else:
        raise CheckpointError("a weights file ends in .pth, .pt, .pth.tar or .safetensors", where=path)
    entry, found = _unwrapped(content, path, prefer_ema)
    state: State = {}
    for name, value in found.items():
        bare = _bare(name)
        if bare in state:
            raise CheckpointError(f"holds two tensors for {bare}", where=path)
        if bare != _AVERAGE_COUNTER:
            state[bare] = _as_float32(str(name), value, path)
    return Weights(state, entry, metadata)


def _read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as exc:
        raise _damaged(path, exc) from exc


def _read_pytorch(path: Path) -> Any:
    try:
        # timm's training checkpoints hold their arguments so: a bag of attributes, which runs nothing.
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # what cannot be read is said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as exc:
        found = re.search(r"GLOBAL (\S+)", str(exc))
        if found is None:
            raise _damaged(path, exc) from exc
        raise CheckpointError(
            f"refused: unpickling it would run code ({found.group(1)}), and a weights file needs none",
            where=path,
            hint="If you trust it: torch.save(torch.load(PATH, weights_only=False)['state_dict'], 'weights.pth'), "
            "and give weights.pth.",
        ) from exc
    except _UNREADABLE as exc:
        raise _damaged(path, exc) from exc


def _damaged(path: Path, exc: BaseException) -> CheckpointError:
    detail = (str(exc).strip() or type(exc).__name__).splitlines()[0]
    return CheckpointError(f"cannot be read as weights ({detail[:120]})", where=path, hint="Download it again.")


def _unwrapped(content: Any, path: Path, prefer_ema: bool) -> tuple[str, dict[str, Any]]:
    """Name and content of the innermost state dict."""
    order = (*_AVERAGED, *_TRAINED, *_INNER) if prefer_ema else (*_TRAINED, *_AVERAGED, *_INNER)
    entry: list[str] = []
    while isinstance(content, dict):
        key = next((key for key in order if _holds_tensors(content.get(key))), None)
        if key is None:
            break
        entry.append(key)
        content = content[key]
    if not _holds_tensors(content):
        raise CheckpointError(f"holds no state dict but {type(content).__name__}", where=path)
    return ".".join(entry), content


def _holds_tensors(content: Any) -> bool:
    if not isinstance(content, dict):
        return False
    return any(isinstance(value, Tensor) or _holds_tensors(value) for value in content.values())


def _bare(name: Any) -> str:
    bare = str(name)
    while bare.startswith(_PREFIXES):
        bare = bare.partition(".")[2]
    return bare


def _as_float32(name: str, value: Any, path: Path) -> Tensor:
    if not isinstance(value, Tensor):
        raise CheckpointError(f"{name} is not a tensor but {type(value).__name__}", where=path)
    if not value.is_floating_point() and not name.endswith((COUNTER, _AVERAGE_COUNTER)):
        raise CheckpointError(
            f"{name} is {value.dtype}, not floating point", where=path, hint="Is it quantized already?"
        )
    if not value.is_floating_point():
        return value
    wide = value.to(torch.float32)
    if not bool(torch.isfinite(wide).all()):
        raise CheckpointError(f"{name} holds a NaN or an infinity", where=path, hint="Its training run diverged.")
    return wide
