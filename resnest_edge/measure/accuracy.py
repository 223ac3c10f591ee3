"""How often a session is right, and how far its answers are from another session's on the same images."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.base import Outputs, Session
from resnest_edge.errors import GateError, InputError
from resnest_edge.measure.frames import check_fits
from resnest_edge.measure.statistics import Bounds, correct_within, mean_kl, paired_drop, sqnr_db, wilson


class LabelledBatch(Protocol):
    """What :func:`evaluate` reads of a batch of pictures (``images.batches.Batch``)."""

    @property
    def images(self) -> npt.NDArray[Any]:
        """(N, S, S, 3) uint8 RGB or (N, 3, S, S) float32, as the session's engine takes them; N >= 1."""
        ...

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) class indices, -1 where unknown."""
        ...

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """(N,) each picture's index in its image set."""
        ...


@dataclass(frozen=True)
class Accuracy:
    """What one session answered.

    Attributes:
        logits: (N, K) float32.
        labels: (N,) class indices, or None when the images are not labelled.
        indices: (N,) each image's index in the image set.
    """

    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64] | None
    indices: npt.NDArray[np.int64]

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.logits)

    @property
    def correct(self) -> npt.NDArray[np.bool_] | None:
        """(N,) whether the largest logit is the label's; None without labels."""
        return None if self.labels is None else correct_within(self.logits, self.labels, 1)

    @property
    def top1(self) -> float | None:
        """Percent of images whose largest logit is the label's; None without labels."""
        return None if self.correct is None else _percent(self.correct)

    @property
    def top1_ci95(self) -> Bounds | None:
        """Wilson interval of :attr:`top1`."""
        return None if self.correct is None else wilson(int(self.correct.sum()), self.images)

    @property
    def top5(self) -> float | None:
        """Percent of images whose label is among the five largest logits; None below five classes."""
        if self.labels is None or self.logits.shape[1] < 5:
            return None
        return _percent(correct_within(self.logits, self.labels, 5))

    def to_json(self, bundle: str) -> dict[str, Any]:
        """Plain values under the keys of ``evaluate --json``; accuracies are null, with a reason, without labels."""
        bounds = self.top1_ci95
        value: dict[str, Any] = {
            "bundle": bundle,
            "images": self.images,
            "top1": self.top1,
            "top1_ci95": None if bounds is None else list(bounds),
            "top5": self.top5,
        }
        return value if self.labels is not None else {**value, "reason": "the images are not labelled"}


@dataclass(frozen=True)
class Comparison:
    """A candidate's answers against a reference's, on the same images in the same order.

    Attributes:
        reference_top1: percent, or None without labels.
        drop: ``reference_top1 - top1`` in percentage points: positive when the candidate lost accuracy.
        drop_ci95: its 95 % interval; the images are paired (Tango's score interval).
        lost: images that only the reference got right.
        gained: images that only the candidate got right.
        agreement: percent of images on which both name the same class, whether right or not.
        agreement_ci95: its Wilson interval.
        logit_sqnr_db: ``10·log10(Σ ref² / Σ (ref - x)²)`` over all images; ``inf`` when the logits are equal.
        kl: mean ``KL(ref ‖ x)`` of the probabilities, in nats.
    """

    reference_top1: float | None
    drop: float | None
    drop_ci95: Bounds | None
    lost: int | None
    gained: int | None
    agreement: float
    agreement_ci95: Bounds
    logit_sqnr_db: float
    kl: float

    def to_json(self) -> dict[str, Any]:
        """Plain values; JSON has no infinity, so equal logits are ``logit_sqnr_db: null, logits_identical: true``."""
        return {
            "reference_top1": self.reference_top1,
            "drop": self.drop,
            "drop_ci95": None if self.drop_ci95 is None else list(self.drop_ci95),
            "lost": self.lost,
            "gained": self.gained,
            "agreement": self.agreement,
            "agreement_ci95": list(self.agreement_ci95),
            "logit_sqnr_db": self.logit_sqnr_db if math.isfinite(self.logit_sqnr_db) else None,
            "logits_identical": self.logit_sqnr_db == math.inf,
            "kl": self.kl,
        }


def evaluate(
    session: Session, batches: Iterable[LabelledBatch], *, on_progress: Callable[[int], None] | None = None
) -> Accuracy:
    """Run every image through ``session`` and keep its logits.

    Batches may be of any size: they are cut anew into what the session takes, the last one padded and the padding's
    answers dropped. The next pictures are decoded while inferences are in flight, as many as the session has streams.

    Args:
        session: the loaded engine.
        batches: pictures and labels, read once.
        on_progress: told the number of images answered so far.

    Raises:
        InputError: no images; some have labels and some do not; a label is not one of the model's classes.
        GateError: a logit is not a finite number.
    """
    labels: list[npt.NDArray[np.int64]] = []
    indices: list[npt.NDArray[np.int64]] = []
    answers: list[npt.NDArray[np.float32]] = []

    def images() -> Iterator[npt.NDArray[Any]]:
        for batch in batches:
            check_fits(batch.images, session.info)
            labels.append(batch.labels)
            indices.append(batch.indices)
            yield batch.images

    done = 0
    for logits in _answers(session, _cut(images(), session.options.batch)):
        bad = ~np.isfinite(logits).all(axis=1)
        if bad.any():
            raise _not_finite(session.info.name, int(np.concatenate(indices)[done + int(bad.argmax())]))
        answers.append(logits)
        done += len(logits)
        if on_progress is not None:
            on_progress(done)
    if not answers:
        raise InputError("there are no images to evaluate", hint="Check the folder or list given with --images.")
    known = _known(np.concatenate(labels), classes=answers[0].shape[1])
    return Accuracy(np.concatenate(answers), known, np.concatenate(indices))


def compare(candidate: Accuracy, reference: Accuracy) -> Comparison:
    """Measure how far ``candidate`` is from ``reference``.

    Raises:
        InputError: the two were not evaluated on the same images, or do not have the same classes.
    """
    if candidate.logits.shape != reference.logits.shape:
        raise InputError(
            f"{_shape_words(candidate)} cannot be compared with {_shape_words(reference)}",
            hint="Evaluate both on the same images, with models of the same classes.",
        )
    if not np.array_equal(candidate.indices, reference.indices) or not _same_labels(candidate, reference):
        raise InputError("the two were evaluated on different images", hint="Use the same images for both.")
    same = candidate.logits.argmax(axis=1) == reference.logits.argmax(axis=1)
    pairs = _discordant(candidate, reference)
    return Comparison(
        reference_top1=reference.top1,
        drop=None if pairs is None else 100 * (pairs[0] - pairs[1]) / candidate.images,
        drop_ci95=None if pairs is None else paired_drop(*pairs, candidate.images),
        lost=None if pairs is None else pairs[0],
        gained=None if pairs is None else pairs[1],
        agreement=_percent(same),
        agreement_ci95=wilson(int(same.sum()), candidate.images),
        logit_sqnr_db=sqnr_db(reference.logits, candidate.logits),
        kl=mean_kl(reference.logits, candidate.logits),
    )


def _percent(hits: npt.NDArray[np.bool_]) -> float:
    return 100 * int(hits.sum()) / len(hits)


def _discordant(candidate: Accuracy, reference: Accuracy) -> tuple[int, int] | None:
    """Images that only the reference got right, and only the candidate; None without labels."""
    ours, theirs = candidate.correct, reference.correct
    if ours is None or theirs is None:
        return None
    return int((theirs & ~ours).sum()), int((ours & ~theirs).sum())


def _same_labels(first: Accuracy, second: Accuracy) -> bool:
    if first.labels is None or second.labels is None:
        return first.labels is second.labels
    return bool(np.array_equal(first.labels, second.labels))


def _shape_words(accuracy: Accuracy) -> str:
    return f"{accuracy.images} images in {accuracy.logits.shape[1]} classes"


def _cut(batches: Iterable[npt.NDArray[Any]], size: int) -> Iterator[npt.NDArray[Any]]:
    """Cut a stream of images into pieces of exactly ``size``; the last may be shorter."""
    waiting: list[npt.NDArray[Any]] = []
    count = 0
    for images in batches:
        waiting.append(images)
        count += len(images)
        if count < size:
            continue
        joined = np.concatenate(waiting)
        whole = count - count % size
        yield from (joined[start : start + size] for start in range(0, whole, size))
        waiting, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(waiting)


def _answers(session: Session, pieces: Iterable[npt.NDArray[Any]]) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the logits of each piece, in order, keeping the session's streams busy."""
    flying: deque[tuple[int, Future[Outputs]]] = deque()
    for images in pieces:
        count = len(images)
        padding = np.repeat(images[-1:], session.options.batch - count, axis=0)
        flying.append((count, session.submit(np.concatenate([images, padding]) if len(padding) else images)))
        if len(flying) > session.options.streams:
            yield _landed(*flying.popleft())
    while flying:
        yield _landed(*flying.popleft())


def _landed(count: int, future: Future[Outputs]) -> npt.NDArray[np.float32]:
    return np.array(future.result().logits[:count], dtype=np.float32)


def _not_finite(name: str, index: int) -> GateError:
    return GateError(
        f"the outputs of {name!r} are not finite, first for image {index} (counted from 0)",
        hint="FP16 that overflows does this. Compare with an FP32 build, then try --precision bf16 or int8.",
    )


def _known(labels: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.int64] | None:
    """The labels, checked; None when no image has one."""
    unknown = int((labels < 0).sum())
    if unknown == len(labels):
        return None
    if unknown:
        raise InputError(
            f"{unknown} of {len(labels)} images have no label", hint="Label every image, or evaluate them apart."
        )
    if labels.max() >= classes:
        raise InputError(
            f"an image has label {labels.max()}, but the model has {classes} classes, numbered from 0",
            hint="Check that the class folders or the list belong to this model.",
        )
    return labels
