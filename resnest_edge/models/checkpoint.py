"""Weights in and out: files of many kinds become one state dict, checked against the network by name and shape."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # only the name of torch.load's error: nothing is unpickled here
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from resnest_edge.errors import CheckpointError, UsageError
from resnest_edge.files import write_atomically
from resnest_edge.models.config import EXPANSION, ResNeStConfig
from resnest_edge.models.resnest import Bottleneck, ResNeSt
from resnest_edge.models.variants import VARIANTS, Variant

_PYTORCH_SUFFIXES = (".pth", ".pt", ".tar")
_WRAPPERS = ("state_dict_ema", "model_ema", "ema", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
_COUNTER = "num_batches_tracked"
_NAMED = 3
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
_BLOCK = re.compile(r"layer([1-4])\.([0-9]+)\.conv1\.weight")

State = dict[str, Tensor]


def load_state(path: Path) -> State:
    """Read the weights of a ``.pth``, ``.pt``, ``.pth.tar`` or ``.safetensors`` file onto the CPU.

    Training checkpoints are unwrapped: averaged weights (``state_dict_ema``, ``model_ema``, ``ema``) are preferred to
    ``state_dict`` and ``model``, because they are what such a training run reports. The prefixes ``module.`` and
    ``_orig_mod.`` (DataParallel, torch.compile) are taken off. Floating point tensors become float32.

    Raises:
        CheckpointError: no such file, damaged, needs more than weights to be unpickled, or holds a NaN or infinity.
    """
    if not path.is_file():
        raise CheckpointError("no such weights file", where=path, hint="Check --weights.")
    if path.suffix == ".safetensors":
        content: Any = _read_safetensors(path)
    elif path.suffix in _PYTORCH_SUFFIXES:
        content = _read_pytorch(path)
    else:
        raise CheckpointError("a weights file ends in .pth, .pt, .pth.tar or .safetensors", where=path)
    return {_bare(name): _as_float32(name, value, path) for name, value in _unwrapped(content, path).items()}


def infer_num_classes(state: Mapping[str, Tensor]) -> int:
    """Outputs of the classifier that these weights end in.

    Raises:
        CheckpointError: they have no classifier ``fc``.
    """
    if "fc.weight" not in state:
        raise CheckpointError(
            "the weights have no classifier (fc.weight)", hint="A backbone alone cannot be built: give a classifier."
        )
    return int(state["fc.weight"].shape[0])


def infer_config(state: Mapping[str, Tensor]) -> ResNeStConfig:
    """The shape of the network that these weights belong to.

    Where the average pool stands (``avd_first``) leaves no trace in weights. The published models decide: radix 2 with
    cardinality 1 is the paper's network (pool last), everything else is of the "fast" family (pool first). Who has
    trained another combination names the variant.

    Raises:
        CheckpointError: the weights are not those of a ResNeSt.
    """
    try:
        return _config_of(state)
    except (KeyError, IndexError, ValueError, ZeroDivisionError, UsageError) as exc:
        detail = f"{exc.args[0]} is missing" if isinstance(exc, KeyError) else str(exc)
        raise CheckpointError(
            f"the weights are not those of a ResNeSt ({detail})", hint="Name the variant they were trained as."
        ) from exc


def infer_variant(state: Mapping[str, Tensor]) -> Variant | None:
    """The published variant of :func:`infer_config`'s shape, whatever its classes; None where there is none.

    Raises:
        CheckpointError: the weights are not those of a ResNeSt.
    """
    config = infer_config(state)
    return next((variant for variant in VARIANTS.values() if variant.config == config), None)


def load_checkpoint(config: ResNeStConfig, path: Path, *, num_classes: int | None = None) -> ResNeSt:
    """Build a network and give it the weights of a file; it is in evaluation mode.

    Args:
        config: shape of the network.
        path: see :func:`load_state`.
        num_classes: classes expected; None takes those of the weights.

    Raises:
        CheckpointError: the file cannot be read, or does not fit the network tensor by tensor.
    """
    return network_with(config, load_state(path), where=path, num_classes=num_classes)


def network_with(config: ResNeStConfig, state: State, *, where: Path, num_classes: int | None = None) -> ResNeSt:
    """A network in evaluation mode that has ``state``'s tensors as its own; ``where`` they were read from.

    Raises:
        CheckpointError: tensors are missing, left over or of another shape. Batch counters may be absent.
    """
    with torch.device("meta"):  # shapes only: random weights that are replaced at once would cost seconds
        network = ResNeSt(config, infer_num_classes(state) if num_classes is None else num_classes).eval()
    wanted = network.state_dict()
    counters = {name: torch.zeros((), dtype=torch.int64) for name in wanted if name.endswith(_COUNTER)}
    whole = {**counters, **state}
    _compare(config, wanted, whole, where)
    network.load_state_dict(whole, strict=True, assign=True)
    return network


def untrained_network(config: ResNeStConfig, num_classes: int, *, seed: int = 0) -> ResNeSt:
    """A network of random weights, in evaluation mode, whose activations keep to a few units at any depth.

    The authors' initialisation relies on batch norms that have seen data; with fresh ones a deep ResNeSt leaves the
    range of float16. So each convolution keeps the variance of what it reads (arXiv 1502.01852, equation 10), each
    batch norm has statistics near mean 0 and variance 1, and the n branches of a stage share the variance they add.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = ResNeSt(config, num_classes).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(cast(Tensor, module.running_mean), std=0.1)
                nn.init.uniform_(cast(Tensor, module.running_var), 0.5, 2.0)
        for stage in network.stages():
            for block in cast(list[Bottleneck], list(stage)):
                block.bn3.weight.fill_((2 * len(stage)) ** -0.5)
    return network


def save_checkpoint(network: ResNeSt, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a network's tensors, in their own types, to a ``.safetensors`` file, atomically.

    Raises:
        UsageError: ``path`` does not end in ``.safetensors``.
        OutputError: the file cannot be written.
    """
    if path.suffix != ".safetensors":
        raise UsageError(f"weights are saved as .safetensors, not {path.name}")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(path, save(state, {"format": "pt", **metadata}))


def _read_safetensors(path: Path) -> State:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as exc:
        raise _damaged(path, exc) from exc


def _read_pytorch(path: Path) -> Any:
    try:
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


def _unwrapped(content: Any, path: Path) -> dict[str, Any]:
    """The innermost state dict."""
    while isinstance(content, dict):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"holds no state dict but {type(content).__name__}", where=path)
    return content


def _bare(name: Any) -> str:
    bare = str(name)
    while bare.startswith(_PREFIXES):
        bare = bare.partition(".")[2]
    return bare


def _as_float32(name: str, value: Any, path: Path) -> Tensor:
    if not isinstance(value, Tensor):
        raise CheckpointError(f"{name} is not a tensor but {type(value).__name__}", where=path)
    if not value.is_floating_point():
        return value
    wide = value.to(torch.float32)
    if not bool(torch.isfinite(wide).all()):
        raise CheckpointError(f"{name} holds a NaN or an infinity", where=path, hint="Its training run diverged.")
    return wide


def _config_of(state: Mapping[str, Tensor]) -> ResNeStConfig:
    blocks = [(int(match[1]), int(match[2])) for match in map(_BLOCK.fullmatch, state) if match]
    layers = tuple(sum(stage == number for stage, _ in blocks) for number in (1, 2, 3, 4))
    planes = tuple(state[f"layer{number}.0.conv3.weight"].shape[0] // EXPANSION for number in (1, 2, 3, 4))
    widths = [state[f"layer{number}.0.conv1.weight"].shape[0] for number in (1, 2, 3, 4)]
    split = "layer1.0.conv2.conv.weight" in state
    weight = state["layer1.0.conv2.conv.weight" if split else "layer1.0.conv2.weight"]
    radix = weight.shape[0] // widths[0] if split else 0
    cardinality = widths[0] // (weight.shape[1] * max(radix, 1))
    # Widths are rounded down, so each stage bounds the bottleneck width from below; the largest bound is the width.
    bottleneck = max(-(-64 * width // (cardinality * plane)) for width, plane in zip(widths, planes, strict=True))
    config = ResNeStConfig(
        (layers[0], layers[1], layers[2], layers[3]),
        radix=radix,
        cardinality=cardinality,
        bottleneck_width=bottleneck,
        stem_width=state["conv1.0.weight"].shape[0],
        avd_first=(radix, cardinality) != (2, 1),
        planes=(planes[0], planes[1], planes[2], planes[3]),
    )
    if [config.group_width(plane) for plane in planes] != widths:
        raise ValueError(f"3×3 convolutions of {widths} channels follow no bottleneck width")
    return config


def _compare(config: ResNeStConfig, wanted: State, given: State, where: Path) -> None:
    misshapen = [
        f"{name} is {tuple(given[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    kinds = {
        "missing": [name for name in wanted if name not in given],
        "too many": [name for name in given if name not in wanted],
        "of another shape": misshapen,
    }
    if not any(kinds.values()):
        return
    found = "; ".join(f"{len(names)} {kind}: {_first(names)}" for kind, names in kinds.items() if names)
    raise CheckpointError(
        f"the weights do not fit the network. Tensors {found}", where=where, hint=_what_fits(config, given)
    )


def _first(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _what_fits(config: ResNeStConfig, state: State) -> str | None:
    try:
        variant = infer_variant(state)
    except CheckpointError:
        return "They are not those of a ResNeSt."
    if variant is None:
        return "They are a ResNeSt of a shape of its own: leave the variant out."
    return None if variant.config == config else f"They fit {variant.name}."
