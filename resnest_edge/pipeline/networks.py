"""Which ResNeSt, with which weights: what the user named becomes a network that can be loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_edge.errors import CheckpointError, UsageError
from resnest_edge.files import sha256_file
from resnest_edge.models.variants import VARIANTS, Variant, find_variant
from resnest_edge.pipeline.progress import Progress
from resnest_edge.spec import Preprocessing

if TYPE_CHECKING:
    from resnest_edge.models.config import ResNeStConfig
    from resnest_edge.models.resnest import ResNeSt

CUSTOM_NAME = "resnest-custom"
_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class OpenNetwork:
    """A ResNeSt whose weights were found and fit.

    Attributes:
        name: the variant, or ``resnest-custom`` for weights of a shape that was not published.
        preprocessing: the variant's own.
        num_classes: outputs of its classifier.
        load: builds it, in evaluation mode.
        parents: SHA-256 of the checkpoint; empty for random weights.
    """

    name: str
    preprocessing: Preprocessing
    num_classes: int
    load: Callable[[], ResNeSt]
    parents: dict[str, str] = field(default_factory=dict)


def open_network(what: str | None, weights: str | None, num_classes: int | None, progress: Progress) -> OpenNetwork:
    """Find a network and its weights, and check that they fit.

    Args:
        what: a variant's name, or None for the one that the weights fit.
        weights: a file, ``pretrained`` (downloaded), or ``none`` (random weights, for measuring speed).
        num_classes: classes; None takes those of the weights, or 1000 for random weights.
        progress: told of the ``download``.

    Raises:
        UsageError: an unknown variant, options that do not belong together, or a wrong number of classes.
        CheckpointError: weights that cannot be read or do not fit.
        UnavailableError: pretrained weights and no network.
    """
    variant = None if what is None else find_variant(what)
    if weights is None:
        raise UsageError(
            f"{what or 'a network'} needs weights",
            hint="Give --weights PATH (your checkpoint), pretrained (ImageNet-1k), or none (random, to measure speed).",
        )
    if what is None and weights in ("pretrained", "none"):
        raise UsageError(f"--weights {weights} does not say which network", hint="Name a variant, such as resnest50.")
    if variant is None or weights not in ("pretrained", "none"):
        return _from_file(variant, Path(weights), num_classes)
    if weights == "none":
        return _untrained(variant, _IMAGENET_CLASSES if num_classes is None else num_classes)
    _check_classes(num_classes, _IMAGENET_CLASSES, f"the pretrained {variant.name}")
    return _from_file(variant, _fetch(variant, progress), num_classes)


def _fetch(variant: Variant, progress: Progress) -> Path:
    from resnest_edge.models.pretrained import fetch

    return fetch(variant, on_progress=lambda done, total: progress("download", done, total))


def _from_file(variant: Variant | None, path: Path, num_classes: int | None) -> OpenNetwork:
    """Read the weights once to know what they are; ``load`` reads them again, so that none are held meanwhile."""
    from resnest_edge.models.checkpoint import read_checkpoint
    from resnest_edge.models.recognise import infer_num_classes

    checkpoint = read_checkpoint(path)
    digest, classes = sha256_file(path), infer_num_classes(checkpoint.state)
    _check_classes(num_classes, classes, str(path))
    named = variant or checkpoint.variant()
    config = checkpoint.shape() if named is None else named.config
    checkpoint.network(config)
    return OpenNetwork(
        CUSTOM_NAME if named is None else named.name,
        (named or VARIANTS["resnest50"]).preprocessing,
        classes,
        lambda: _load(config, path, classes, digest),
        {"checkpoint": digest},
    )


def _load(config: ResNeStConfig, path: Path, num_classes: int, digest: str) -> ResNeSt:
    from resnest_edge.models.checkpoint import load_checkpoint

    network = load_checkpoint(config, path, num_classes=num_classes)
    if sha256_file(path) != digest:
        raise CheckpointError("changed while it was being used", where=path, hint="Repeat with a file that stays.")
    return network


def _untrained(variant: Variant, num_classes: int) -> OpenNetwork:
    def load() -> ResNeSt:
        from resnest_edge.models.checkpoint import untrained_network

        return untrained_network(variant.config, num_classes)

    if num_classes < 1:
        raise UsageError(f"{num_classes} classes make no classifier")
    return OpenNetwork(variant.name, variant.preprocessing, num_classes, load)


def _check_classes(given: int | None, found: int, where: str) -> None:
    if given is not None and given != found:
        raise UsageError(f"--num-classes {given}, but {where} has {found} classes", hint="Leave --num-classes out.")
