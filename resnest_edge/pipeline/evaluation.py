"""Bundles on pictures: accuracy, and what a lower precision lost against FP32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from resnest_edge.backends.base import SessionOptions
from resnest_edge.bundle import Bundle, open_bundle
from resnest_edge.environment import usable_cores
from resnest_edge.errors import UsageError
from resnest_edge.images import Batch, ImageSet, iter_batches
from resnest_edge.measure.accuracy import Accuracy, Comparison, compare, evaluate
from resnest_edge.pipeline.pictures import open_pictures
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.pipeline.runtimes import load_session


@dataclass(frozen=True)
class Evaluation:
    """What one bundle answered on a set of pictures.

    Attributes:
        accuracy: its own.
        comparison: against the reference, where one was given.
        skipped: names of bad pictures that were left out.
    """

    accuracy: Accuracy
    comparison: Comparison | None
    skipped: tuple[str, ...]


def evaluate_bundle(
    bundle: Bundle, images: ImageSet, *, skip_bad: bool = False, progress: Progress = silent, stage: str = "evaluate"
) -> tuple[Accuracy, tuple[str, ...]]:
    """Run every picture through a bundle's engine.

    Returns:
        What it answered, and the names of bad pictures left out (none unless ``skip_bad``).
    """
    manifest = bundle.manifest
    skipped: list[str] = []
    with load_session(bundle, _fast_options(bundle)) as session:
        batches = iter_batches(
            images,
            manifest.preprocessing,
            max(8, session.options.batch),
            input_format=manifest.info.input_format,
            skip_bad=skip_bad,
        )

        def noting() -> Iterator[Batch]:
            for batch in batches:
                skipped.extend(batch.skipped)
                yield batch

        accuracy = evaluate(session, noting(), on_progress=_told(progress, stage, len(images)))
    return accuracy, tuple(skipped)


def evaluate_paths(
    path: Path,
    reference: Path | None,
    source: str,
    *,
    skip_bad: bool = False,
    trust: Path | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """What ``resnest-edge evaluate`` does.

    Args:
        path: the bundle to measure.
        reference: a bundle of the same classes to compare it with.
        source: pictures: a folder, a list, ``demo:train`` or ``demo:test``.
        skip_bad: leave damaged pictures out and name them, instead of failing.
        trust: a public key that must have signed both bundles.
        progress: told of each stage.

    Raises:
        UsageError: the two bundles prepare their pictures differently or have other classes.
    """
    bundle = open_bundle(path, trust=trust)
    other = None if reference is None else open_bundle(reference, trust=trust)
    classes = bundle.manifest.info.num_classes
    if other is not None and other.manifest.info.num_classes != classes:
        raise UsageError(f"{path} has {classes} classes, {reference} has {other.manifest.info.num_classes}")
    images = open_pictures(source, classes)
    accuracy, skipped = evaluate_bundle(bundle, images, skip_bad=skip_bad, progress=progress)
    if other is None:
        return Evaluation(accuracy, None, skipped)
    expected, _ = evaluate_bundle(other, images, skip_bad=skip_bad, progress=progress, stage="evaluate reference")
    return Evaluation(accuracy, compare(accuracy, expected), skipped)


def _fast_options(bundle: Bundle) -> SessionOptions:
    """One image per inference and a stream per core is the quickest way through a set on a CPU."""
    return SessionOptions(batch=bundle.manifest.info.batch.minimum, streams=usable_cores())


def _told(progress: Progress, stage: str, total: int) -> Callable[[int], None]:
    return lambda done: progress(stage, done, total)
