"""What weights tell of their network: its shape, its classes, its name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from resnest_edge.errors import CheckpointError, UsageError
from resnest_edge.models.config import EXPANSION, ResNeStConfig
from resnest_edge.models.variants import VARIANTS, Variant

_BLOCK = re.compile(r"layer([1-4])\.([0-9]+)\.conv1\.weight")


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
    trained another combination names the variant. (A file of our own records its shape: ``Checkpoint.shape``.)

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
    return published_variant(infer_config(state))


def published_variant(config: ResNeStConfig) -> Variant | None:
    """The published variant of this shape; None where there is none."""
    return next((variant for variant in VARIANTS.values() if variant.config == config), None)


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
