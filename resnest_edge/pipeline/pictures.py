"""Which pictures calibrate and which measure, and never the same ones unnoticed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from resnest_edge.demo.scenes import DemoImages
from resnest_edge.errors import ImageError, UsageError
from resnest_edge.images import ImageSet, Subset, exclude, imagenet_wnids, open_images, read_source, sample

IMAGENET_CLASSES = 1000
DEMO_SCENES = {"demo:train": 2000, "demo:test": 1200}


@dataclass(frozen=True)
class Pictures:
    """The pictures of one build.

    Attributes:
        calibration: what INT8 ranges are taken from; None when none were given.
        evaluation: labelled pictures that calibration does not use; None when there are none.
        note: how the evaluation pictures were come by, for the report; or why there are none.
    """

    calibration: ImageSet | None
    evaluation: ImageSet | None
    note: str


def open_pictures(source: str, classes: int | None) -> ImageSet:
    """Open ``demo:train``, ``demo:test``, a folder, or a list of files or of demo scenes.

    Args:
        source: which.
        classes: the model's classes, which decide how class folders become labels; None if there is no model.

    Raises:
        ImageError: see :func:`resnest_edge.images.open_images`.
        UsageError: an unknown ``demo:`` word.
    """
    if source.startswith("demo:"):
        if source not in DEMO_SCENES:
            raise UsageError(f"{source!r} is not known", hint=f"Use one of {', '.join(DEMO_SCENES)}.")
        return _demo(source)
    if source.lower().endswith(".txt") and Path(source).is_file():
        origin, listed = read_source(Path(source))
        if origin in DEMO_SCENES:
            return _listed_demo(source, origin, listed)
    return open_images(source, wnids=imagenet_wnids() if classes == IMAGENET_CLASSES else None, classes=classes)


def _demo(source: str) -> DemoImages:
    return DemoImages(source.removeprefix("demo:"), DEMO_SCENES[source])


def _listed_demo(path: str, origin: str, listed: list[tuple[str, str | None]]) -> ImageSet:
    """The demo scenes that a list names, each with the pixels it had when the list was written."""
    scenes = _demo(origin)
    places = {scenes.name(index): index for index in range(len(scenes))}
    for name, digest in listed:
        if name not in places or scenes.digest(places[name]) != digest:
            raise ImageError(f"scene {name} of {origin} is not the one that was listed", where=path)
    return Subset(scenes, [places[name] for name, _ in listed])


def choose_pictures(
    images: str | None, evaluation: str | None, *, classes: int | None, count: int, seed: int
) -> Pictures:
    """Decide what calibrates and what measures.

    Args:
        images: where calibration pictures come from.
        evaluation: where measuring pictures come from; without it, labelled pictures of ``images`` that calibration
            does not use.
        classes: the model's classes.
        count: calibration pictures, balanced over classes.
        seed: decides which ones.
    """
    whole = None if images is None else open_pictures(images, classes)
    calibration = None if whole is None else sample(whole, count, seed)
    if evaluation is not None:
        held_out = open_pictures(evaluation, classes)
        return Pictures(calibration, held_out, f"measured on {len(held_out)} images of {evaluation}")
    if whole is None or calibration is None:
        return Pictures(None, None, "no images were given: accuracy was not measured")
    rest = exclude(whole, calibration)
    if len(rest) == 0:
        return Pictures(calibration, None, f"calibration used all {len(whole)} images: none is left to measure on")
    if not is_labelled(rest):
        return Pictures(calibration, None, "the images are not labelled: accuracy was not measured")
    return Pictures(calibration, rest, f"measured on the {len(rest)} images of {images} that calibration did not use")


def is_labelled(images: ImageSet) -> bool:
    """Whether every picture has a label."""
    return len(images) > 0 and all(images.label(index) is not None for index in range(len(images)))


def first(images: ImageSet, count: int) -> Subset:
    """The first pictures of a set."""
    return Subset(images, range(min(count, len(images))))


def spread(images: ImageSet, most: int, multiple: int = 1) -> ImageSet:
    """Up to ``most`` images at even distances, in whole batches of ``multiple`` where that is fixed."""
    count = min(len(images), max(most // multiple, 1) * multiple)
    return Subset(images, [index * len(images) // count for index in range(count)])
