"""The training loop: labels and the float network's own answers teach the quantized network, for a few epochs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnest_edge.errors import GateError, UsageError
from resnest_edge.images import ImageSet, Subset, iter_batches, normalise
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.spec import Preprocessing

_SMALLEST_RATE = 0.01


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, beside the network and the images.

    Attributes:
        epochs: passes over the images.
        rate: Adam's first step size; it falls along half a cosine to a hundredth.
        batch: images a step; what is left over at an epoch's end is a smaller step.
        seed: decides the order of the images.
    """

    epochs: int = 3
    rate: float = 1e-4
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise UsageError(f"{self.epochs} epochs of batches of {self.batch} train nothing")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise UsageError(f"a rate of {self.rate:g} trains nothing", hint="Try 1e-4.")


EpochEnd = Callable[[int, torch.optim.Adam, float], None]
"""Told the number of epochs done, the optimizer, and the epoch's mean loss."""


def train(
    student: nn.Module,
    teacher: nn.Module,
    images: ImageSet,
    preprocessing: Preprocessing,
    recipe: Recipe,
    *,
    optimizer: torch.optim.Adam | None = None,
    done: int = 0,
    on_epoch: EpochEnd | None = None,
    progress: Progress = silent,
) -> None:
    """Train in place. The loss is the cross-entropy to the label plus the KL divergence from the teacher's answer.

    The same network, images and recipe give the same weights on the same machine and number of threads, whether or not
    the run was interrupted between epochs.

    Args:
        student: the quantized network.
        teacher: the float network; it is not changed.
        images: labelled pictures.
        preprocessing: how they become the input.
        recipe: how to train.
        optimizer: the one of an interrupted run.
        done: epochs that it finished.
        on_epoch: told of each finished epoch.
        progress: told of each step.

    Raises:
        ImageError: a picture is damaged.
        GateError: the loss is no longer a number.
    """
    steps = -(-len(images) // recipe.batch)
    optimizer = optimizer or make_optimizer(student, recipe)
    for epoch in range(done, recipe.epochs):
        order = np.random.default_rng([recipe.seed, epoch]).permutation(len(images))
        shuffled = Subset(images, [int(index) for index in order])
        total = 0.0
        for step, batch in enumerate(iter_batches(shuffled, preprocessing, recipe.batch)):
            pixels = torch.from_numpy(normalise(batch.images.astype(np.uint8, copy=False), preprocessing))
            _set_rate(optimizer, recipe, (epoch * steps + step) / (recipe.epochs * steps))
            loss = _loss(student, teacher, pixels, torch.from_numpy(batch.labels))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(batch.labels)
            progress("fine-tune", epoch * steps + step + 1, recipe.epochs * steps)
        if not math.isfinite(total):
            raise GateError("the loss is no longer a number", hint=f"Train with a smaller --rate than {recipe.rate:g}.")
        if on_epoch is not None:
            on_epoch(epoch + 1, optimizer, total / len(images))


def make_optimizer(student: nn.Module, recipe: Recipe) -> torch.optim.Adam:
    """Adam (arXiv 1412.6980) over all parameters."""
    return torch.optim.Adam(student.parameters(), lr=recipe.rate)


def _loss(student: nn.Module, teacher: nn.Module, pixels: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        expected = F.log_softmax(teacher(pixels), dim=1)
    answered = student(pixels)
    divergence = F.kl_div(F.log_softmax(answered, dim=1), expected, reduction="batchmean", log_target=True)
    return F.cross_entropy(answered, labels) + divergence


def _set_rate(optimizer: torch.optim.Adam, recipe: Recipe, share: float) -> None:
    factor = _SMALLEST_RATE + (1 - _SMALLEST_RATE) * 0.5 * (1 + math.cos(math.pi * share))
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate * factor
