"""Which class index of the model a folder or list name stands for."""

from __future__ import annotations

from collections.abc import Sequence

from resnest_edge.errors import ImageError


def class_indices(
    names: Sequence[str], source: str, wnids: Sequence[str] | None, classes: int | None
) -> tuple[list[int], tuple[str, ...]]:
    """Index of the model's class for each of ``names``, and the names of all the model's classes.

    As many names as the model has classes (or ``classes`` unknown): their own order. Fewer, and every one of them in
    ``wnids``, which has as many entries as the model has classes: their place there. Nothing else is guessed.

    Args:
        names: distinct class names, in the order of their own labels.
        source: what errors call the folder or list.
        wnids: class names of the model, in class order.
        classes: how many classes the model has; None when unknown.

    Raises:
        ImageError: none of the two; the message gives both counts.
    """
    if classes is None or len(names) == classes:
        return list(range(len(names))), tuple(names)
    place = {wnid: index for index, wnid in enumerate(wnids or ())}
    if len(place) == classes and all(name in place for name in names):
        return [place[name] for name in names], tuple(wnids or ())
    raise ImageError(
        f"{len(names)} classes ({_some(names)}), but the model has {classes}",
        where=source,
        hint="Give one folder a class, or, for the 1,000 ImageNet classes, folders named by wnid (n01440764).",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
