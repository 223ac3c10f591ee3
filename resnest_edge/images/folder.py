"""From what the user names (a folder of classes, a flat folder, a list) to an ordered, labelled set of pictures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from resnest_edge.errors import ImageError
from resnest_edge.images.decode import EXTENSIONS, is_picture
from resnest_edge.images.labels import class_indices
from resnest_edge.images.listing import read_list
from resnest_edge.images.sets import ImageFiles

_Lineage = tuple[tuple[int, int], ...]
"""Device and inode of a folder and of all that hold it: what a loop of links comes back to."""


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """The 1,000 WordNet ids of ImageNet-1k (ILSVRC 2012), in class order, which is their sorted order."""
    text = files("resnest_edge.images").joinpath("imagenet_wnids.txt").read_text(encoding="ascii")
    return tuple(text.split())


def open_images(
    source: str | Path,
    *,
    wnids: Sequence[str] | None = None,
    classes: int | None = None,
    root: str | Path | None = None,
) -> ImageFiles:
    """Open a folder of class folders, a flat folder (unlabelled), or a list (``.txt``); nothing is decoded yet.

    Pictures of a folder are in the byte order of their relative POSIX paths; those of a list in its order. Hidden
    files and other extensions are in ``ignored``. Links are followed. An empty class folder keeps its label.

    Args:
        source: the folder or list.
        wnids: the names of 1,000 classes in class order, for folders named by wnid; see :func:`imagenet_wnids`.
        classes: how many classes the model has; None labels folders by their sorted order.
        root: for a list, the folder that its names start from; see :func:`~resnest_edge.images.listing.read_list`.

    Raises:
        ImageError: missing, unreadable or empty; pictures beside class folders; a loop of links; or the number of
            classes is not the model's, with both counts.
    """
    text, path = str(source), Path(source)
    if not text:
        raise ImageError("the path of the images is empty", hint="Is a variable of the shell unset?")
    if os.path.isdir(path):
        if root is not None:
            raise ImageError("a folder has no other root", where=text, hint="Give a root with lists only.")
        return _open_folder(text, path, wnids, classes)
    if os.path.isfile(path) and path.suffix.lower() == ".txt":
        return read_list(path, wnids=wnids, classes=classes, root=root)
    if os.path.lexists(path):
        raise ImageError("neither a folder of images nor a list of them", where=text, hint="Lists end in .txt.")
    raise ImageError("the folder or list of images does not exist", where=text, hint="Check the path.")


def _open_folder(source: str, root: Path, wnids: Sequence[str] | None, classes: int | None) -> ImageFiles:
    pictures, ignored, folders = _scan(root)
    if not pictures:
        raise ImageError(_no_pictures(ignored), where=source, hint=f"Pictures end in {' '.join(EXTENSIONS)}.")
    loose = sum("/" not in name for name in pictures)
    if loose == len(pictures):
        return ImageFiles(source, root, pictures, [None] * loose, (), ignored=ignored)
    if loose:
        raise ImageError(
            f"{loose} pictures lie beside {len(folders)} class folders, so their class is unclear",
            where=source,
            hint="Move the pictures into class folders, or the folders away.",
        )
    indices, class_names = class_indices(folders, source, wnids, classes)
    index_of = dict(zip(folders, indices, strict=True))
    labels = [index_of[name.split("/", 1)[0]] for name in pictures]
    return ImageFiles(source, root, pictures, labels, class_names, ignored=ignored)


def _scan(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Relative names, each list in byte order: pictures, everything else, and the visible folders at the top."""
    pictures: list[str] = []
    ignored: list[str] = []
    top: list[str] = []
    pending: list[tuple[str, _Lineage]] = [("", ())]
    while pending:
        prefix, ancestors = pending.pop()
        entries, lineage = _entries(root / prefix, ancestors)
        for name, is_folder in entries:
            if name.startswith("."):
                ignored.append(prefix + name)
            elif is_folder:
                pending.append((f"{prefix}{name}/", lineage))
                if not prefix:
                    top.append(name)
            else:
                (pictures if is_picture(name) else ignored).append(prefix + name)
    for names in (pictures, ignored, top):
        names.sort(key=os.fsencode)
    return pictures, ignored, top


def _entries(folder: Path, ancestors: _Lineage) -> tuple[list[tuple[str, bool]], _Lineage]:
    """Name of everything in one folder and whether it is (a link to) a folder; and the folder's own lineage."""
    try:
        info = folder.stat()
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir()) for entry in entries]
    except OSError as exc:
        raise ImageError(f"the folder cannot be read: {exc.strerror}", where=exc.filename or folder) from exc
    identity = (info.st_dev, info.st_ino)
    if identity in ancestors:
        raise ImageError("this link leads back to a folder that holds it", where=folder, hint="Remove the link.")
    return found, (*ancestors, identity)


def _no_pictures(ignored: Sequence[str]) -> str:
    if not ignored:
        return "the folder is empty"
    endings = Counter("hidden" if _is_hidden(name) else os.path.splitext(name)[1] or "no ending" for name in ignored)
    found = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items()))
    return f"the folder has no pictures, only other files ({found})"


def _is_hidden(name: str) -> bool:
    return name.rsplit("/", 1)[-1].startswith(".")
