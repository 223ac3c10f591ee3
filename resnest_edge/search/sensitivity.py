"""What quantizing each layer alone does to the network's answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from resnest_edge.errors import InputError
from resnest_edge.files import read_json, write_atomically
from resnest_edge.measure.statistics import correct_within, mean_kl
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.report.plain import from_plain

SCHEMA = 1


class Layers(Protocol):
    """What :func:`layer_effects` needs of ``pipeline.probe.Probe``."""

    macs: dict[str, int]
    labels: npt.NDArray[np.int64]
    reference: npt.NDArray[np.float32]

    def only(self, layer: str) -> npt.NDArray[np.float32]:
        """Logits with one layer quantized."""
        ...


@dataclass(frozen=True)
class LayerEffect:
    """One layer quantized, everything else in FP32.

    Attributes:
        layer: its name in the model.
        macs: its multiply-accumulates for one image: what INT8 makes faster.
        harm: error of the logits, ``Σ(ref − x)² / Σ ref²`` over all images.
        kl: mean KL divergence of the probabilities from FP32's, nats.
        changed: percent of images that get another answer.
        top1_change: top-1 minus FP32's, percentage points; None without labels.
    """

    layer: str
    macs: int
    harm: float
    kl: float
    changed: float
    top1_change: float | None


def layer_effects(
    probe: Layers,
    *,
    known: Mapping[str, LayerEffect] | None = None,
    found: Callable[[LayerEffect], None] | None = None,
    progress: Progress = silent,
) -> list[LayerEffect]:
    """Quantize each layer alone.

    Args:
        probe: the network and the images.
        known: effects that an earlier, interrupted run has measured.
        found: told of each new effect, so that it can be saved.
        progress: told of each layer.

    Returns:
        The effects, most harmful first.
    """
    effects = dict(known or {})
    for done, (layer, macs) in enumerate(probe.macs.items(), start=1):
        if layer not in effects:
            effects[layer] = _effect(layer, macs, probe)
            if found is not None:
                found(effects[layer])
        progress("sensitivity", done, len(probe.macs))
    return sorted((effects[layer] for layer in probe.macs), key=lambda effect: -effect.harm)


def by_harm_per_cost(effects: list[LayerEffect]) -> list[LayerEffect]:
    """In the order in which layers are given back: most harm for each multiply-accumulate that leaves INT8 first."""
    return sorted(effects, key=lambda effect: -effect.harm / max(effect.macs, 1))


def _effect(layer: str, macs: int, probe: Layers) -> LayerEffect:
    reference, logits = probe.reference, probe.only(layer)
    wide = reference.astype(np.float64)
    harm = float(np.square(wide - logits).sum() / np.square(wide).sum())
    changed = 100 * float(np.mean(reference.argmax(1) != logits.argmax(1)))
    labelled = bool((probe.labels >= 0).all())
    change = None
    if labelled:
        hits = [int(correct_within(values, probe.labels, 1).sum()) for values in (logits, reference)]
        change = 100 * (hits[0] - hits[1]) / len(reference)
    return LayerEffect(layer, macs, harm, mean_kl(reference, logits), changed, change)


class Journal:
    """The effects of a run as a file that grows layer by layer, so that an interrupted run goes on where it was.

    Args:
        path: the JSON file.
        identity: what the effects belong to (digests of graph and images, placement); another's file is refused.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.identity = dict(identity)
        self.effects: dict[str, LayerEffect] = {}

    def resume(self) -> int:
        """Read what an earlier run measured.

        Returns:
            The number of layers it holds; 0 where there is no file.

        Raises:
            InputError: the file is something else, or belongs to another network, image set or target.
        """
        if not self.path.exists():
            return 0
        try:
            value = read_json(self.path)
            belongs = value["schema"] == SCHEMA and value["identity"] == self.identity
            read = [from_plain(LayerEffect, entry) for entry in value["layers"]]
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as exc:
            raise InputError("this is not a sensitivity file", where=self.path, hint="Use another --out.") from exc
        if not belongs:
            raise InputError(
                "this file belongs to another network, image set or target",
                where=self.path,
                hint="Use another --out, or --force to start anew.",
            )
        self.effects = {effect.layer: effect for effect in read}
        return len(read)

    def add(self, effect: LayerEffect) -> None:
        """Keep one more layer, atomically."""
        self.effects[effect.layer] = effect
        value = {"schema": SCHEMA, "identity": self.identity, "layers": [asdict(e) for e in self.effects.values()]}
        write_atomically(self.path, (json.dumps(value, indent=1) + "\n").encode())
