"""Weights in and out: what a file holds is checked against the network by name and shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save
from torch import Tensor, nn

from resnest_edge.errors import CheckpointError, UsageError
from resnest_edge.files import write_atomically
from resnest_edge.models.config import ResNeStConfig
from resnest_edge.models.recognise import infer_config, infer_num_classes, infer_variant, published_variant
from resnest_edge.models.resnest import Bottleneck, ResNeSt
from resnest_edge.models.variants import Variant
from resnest_edge.models.weights_file import COUNTER, State, read_weights

_CONFIG_KEY = "resnest_edge.config"
_NAMED = 3


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file, and what the file says of them.

    Attributes:
        path: the file.
        state: its tensors by the authors' names, on the CPU, floating point ones in float32.
        entry: what they were in a training checkpoint, such as ``state_dict_ema``; empty for bare weights.
        config: the shape that :func:`save_checkpoint` recorded; None in the files of others.
    """

    path: Path
    state: State
    entry: str = ""
    config: ResNeStConfig | None = None

    def shape(self) -> ResNeStConfig:
        """The recorded shape, else the one that the tensors tell (:func:`infer_config`).

        Raises:
            CheckpointError: the weights are not those of a ResNeSt.
        """
        return self.config or infer_config(self.state)

    def variant(self) -> Variant | None:
        """The published variant of :meth:`shape`; None where there is none.

        Raises:
            CheckpointError: the weights are not those of a ResNeSt.
        """
        return published_variant(self.shape())

    def network(self, config: ResNeStConfig, *, num_classes: int | None = None) -> ResNeSt:
        """A network in evaluation mode that has these tensors as its own; see :func:`load_checkpoint`."""
        with torch.device("meta"):  # shapes only: random weights that are replaced at once would cost seconds
            network = ResNeSt(config, infer_num_classes(self.state) if num_classes is None else num_classes).eval()
        self.fill(network, assign=True)
        return network

    def fill(self, network: ResNeSt, *, assign: bool = False) -> None:
        """Give the tensors to a network: by copying, or as its own.

        Raises:
            CheckpointError: tensors are missing, left over or of another shape (batch counters may be absent, and a
                classifier may be left over from a network of features only), or the network pools elsewhere.
        """
        wanted = network.state_dict()
        given = {name: torch.zeros((), dtype=torch.int64) for name in wanted if name.endswith(COUNTER)} | self.state
        if network.features_only:
            given = {name: value for name, value in given.items() if not name.startswith("fc.")}
        _compare(network.config, wanted, given, self.path)
        if self.config is not None and self.config.avd_first != network.config.avd_first:
            raise CheckpointError(
                "the weights fit, but were trained with the average pool of a strided block "
                f"{'before' if self.config.avd_first else 'after'} the split attention",
                where=self.path,
                hint=_what_fits(network.config, self.variant()),
            )
        network.load_state_dict(given, strict=True, assign=assign)


def read_checkpoint(path: Path, *, prefer_ema: bool = True) -> Checkpoint:
    """Read the weights of a ``.pth``, ``.pt``, ``.pth.tar`` or ``.safetensors`` file.

    Training checkpoints are unwrapped, and the prefixes ``module.``, ``_orig_mod.`` and ``model.`` (DataParallel,
    torch.compile, Lightning) taken off.

    Args:
        path: the file.
        prefer_ema: of a training checkpoint with both, take the averaged weights (``state_dict_ema``, ``model_ema``,
            ``ema``) rather than the last ones (``state_dict``, ``model``): they are what such a run, timm's for one,
            reports. Where there is but one of the two, that one is taken. ``Checkpoint.entry`` says which it was.

    Raises:
        CheckpointError: no such file, damaged, needs more than weights to be unpickled, or holds a NaN or infinity.
    """
    weights = read_weights(path, prefer_ema=prefer_ema)
    shape = weights.metadata.get(_CONFIG_KEY)
    config = None if shape is None else _recorded_shape(shape, path)
    return Checkpoint(path, weights.state, weights.entry, config)


def load_state(path: Path, *, prefer_ema: bool = True) -> State:
    """The tensors of a weights file by the authors' names; see :func:`read_checkpoint`.

    Raises:
        CheckpointError: as there.
    """
    return read_checkpoint(path, prefer_ema=prefer_ema).state


def load_checkpoint(
    network: ResNeSt | ResNeStConfig, path: Path, *, num_classes: int | None = None, prefer_ema: bool = True
) -> ResNeSt:
    """Give a network the weights of a file.

    Args:
        network: a network to fill, which is returned; or the shape of one to build, in evaluation mode.
        path: see :func:`read_checkpoint`.
        num_classes: classes of a network to build; None takes those of the weights.
        prefer_ema: see :func:`read_checkpoint`.

    Raises:
        CheckpointError: the file cannot be read, or does not fit the network tensor by tensor.
    """
    checkpoint = read_checkpoint(path, prefer_ema=prefer_ema)
    if isinstance(network, ResNeStConfig):
        return checkpoint.network(network, num_classes=num_classes)
    checkpoint.fill(network)
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
    """Write a network's tensors, in their own types, and its shape to a ``.safetensors`` file, atomically.

    Raises:
        UsageError: ``path`` does not end in ``.safetensors``.
        OutputError: the file cannot be written.
    """
    if path.suffix != ".safetensors":
        raise UsageError(f"weights are saved as .safetensors, not {path.name}")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    shape = json.dumps(asdict(network.config))
    write_atomically(path, save(state, {"format": "pt", _CONFIG_KEY: shape, **metadata}))


def _recorded_shape(text: str, path: Path) -> ResNeStConfig:
    try:
        value = json.loads(text)
        listed = {key: tuple(value[key]) for key in ("layers", "planes")}
        return ResNeStConfig(**{**value, **listed})
    except (KeyError, TypeError, ValueError, UsageError) as exc:
        raise CheckpointError(f"its metadata {_CONFIG_KEY} is no shape of a ResNeSt ({exc})", where=path) from exc


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
    try:
        hint = _what_fits(config, infer_variant(given))
    except CheckpointError:
        hint = "They are not those of a ResNeSt."
    raise CheckpointError(f"the weights do not fit the network. Tensors {found}", where=where, hint=hint)


def _first(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _what_fits(config: ResNeStConfig, variant: Variant | None) -> str | None:
    if variant is None:
        return "They are a ResNeSt of a shape of its own: leave the variant out."
    return None if variant.config == config else f"They fit {variant.name}."
