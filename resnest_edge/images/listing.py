"""Lists of pictures as text files: plain ones that users write, and ours with labels and digests."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from resnest_edge.errors import ImageError
from resnest_edge.files import read_regular, refuse_existing, write_atomically
from resnest_edge.images.base import ImageSet
from resnest_edge.images.labels import class_indices
from resnest_edge.images.sets import ImageFiles, Subset

_TITLE = "# resnest-edge image list 1"
_COLUMNS = "# name\tlabel\tsha256"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_CLASSES = 1_000_000
_MAX_DIGITS = 18  # of a label; Python refuses to read numbers of thousands
_MAX_BYTES = 1 << 30


@dataclass
class _Listing:
    """What a list says, before any file is looked at; ``header`` is empty for a plain list."""

    names: list[str] = field(default_factory=list)
    labels: list[int | None] = field(default_factory=list)
    digests: list[str | None] = field(default_factory=list)
    header: dict[str, str] = field(default_factory=dict)


def write_list(images: ImageSet, path: Path, *, force: bool = False) -> None:
    """Write name, label and SHA-256 of every picture, tab separated, for :func:`read_list`; all or nothing.

    The header holds the source, the count, the seed of a drawn set, and the class names. The digests are computed
    here, so every picture is read once.

    Raises:
        OutputError: the file exists and ``force`` is false, or it cannot be written.
        ImageError: a picture cannot be read, or a name holds a tab or a line break.
    """
    refuse_existing(path, force=force)
    text = "".join(f"{line}\n" for line in _lines(images))
    write_atomically(path, text.encode("utf-8", "surrogateescape"))


def _lines(images: ImageSet) -> Iterator[str]:
    yield _TITLE
    yield f"# source: {_plain(images.source)}"
    yield f"# count: {len(images)}"
    if isinstance(images, Subset) and images.seed is not None:
        yield f"# seed: {images.seed}"
    if images.class_names:
        yield "\t".join(["# classes:", *map(_plain, images.class_names)])
    yield _COLUMNS
    for index in range(len(images)):
        name, label = _plain(images.name(index)), images.label(index)
        # A name that begins like a comment is written as a path; reading takes the "./" off again.
        shown = f"./{name}" if name.startswith("#") else name
        yield f"{shown}\t{'' if label is None else label}\t{images.digest(index)}"


def _plain(text: str) -> str:
    if any(character in text for character in "\t\r\n"):
        raise ImageError(f"the name {text!r} holds a tab or a line break, which a list cannot", hint="Rename it.")
    return text


def read_list(
    path: Path,
    *,
    wnids: Sequence[str] | None = None,
    classes: int | None = None,
    root: str | Path | None = None,
) -> ImageFiles:
    """Read a list of pictures; the files themselves are looked at when they are decoded.

    A plain list has a line for each picture: ``path``, ``path label`` or ``path<TAB>label``, where the label is the
    model's class index; lines that begin with ``#`` are comments. Without a tab, a last word of digits is the label.
    Its paths start from ``root``, else from the list's folder. A list of :func:`write_list` also knows its class
    names, which are matched to the model's like class folders, and digests, which every picture must have when it is
    read; its names start from ``root``, else from the folder it calls its source if that exists, else from the list's.

    Raises:
        ImageError: unreadable, empty, cut short, or ill-formed (with the line); a picture listed twice; none of the
            files exists; a label or the number of classes does not fit the model.
    """
    listing = _parse(path)
    labels, class_names = _labels(listing, str(path), wnids, classes)
    start = _start(listing, path, root)
    try:
        found = any((start / name).exists() for name in listing.names)
    except (OSError, ValueError) as exc:
        raise ImageError(f"a name in the list is no usable path: {exc}", where=path) from exc
    if not found:
        raise ImageError(
            f"none of the {len(listing.names)} listed pictures exists; the first would be {start / listing.names[0]}",
            where=path,
            hint="Give the folder that the names start from as the root.",
        )
    return ImageFiles(str(path), start, listing.names, labels, class_names, digests=listing.digests)


def read_source(path: Path) -> tuple[str, list[tuple[str, str | None]]]:
    """What a list of :func:`write_list` says it was drawn from, and its (name, SHA-256) pairs; ``""`` for plain lists.

    Raises:
        ImageError: unreadable, cut short or ill-formed, with the line.
    """
    listing = _parse(path)
    return listing.header.get("source", "").strip(), list(zip(listing.names, listing.digests, strict=True))


def _start(listing: _Listing, path: Path, root: str | Path | None) -> Path:
    if root is not None:
        return Path(root)
    # Taking the source's word is safe: a picture other than the listed one has another digest.
    source = listing.header.get("source", "").removeprefix(" ")
    return Path(source) if source and os.path.isdir(source) else path.parent


def _parse(path: Path) -> _Listing:
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8-sig", "surrogateescape")
    except OSError as exc:
        raise ImageError(f"the list cannot be read: {exc.strerror}", where=path) from exc
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    ours = lines[0].startswith(_TITLE[:-1])
    if ours and lines[0] != _TITLE:
        raise ImageError(f"the list is of another version: {lines[0]!r}", where=path, hint="Write the list anew.")
    listing = _Listing()
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        if line.startswith("#"):
            key, _, value = line[1:].partition(":")
            listing.header.update({key.strip(): value} if ours else {})
        elif line.strip():
            _add(listing, line, where, seen)
    _check(listing, path, ours)
    return listing


def _add(listing: _Listing, line: str, where: str, seen: set[str]) -> None:
    name, label, digest = _fields(line, where)
    if name in seen:
        raise ImageError(f"{name!r} is listed twice", where=where, hint="Remove one of the lines.")
    seen.add(name)
    listing.names.append(name)
    listing.labels.append(_label(label, where))
    listing.digests.append(digest or None)


def _fields(line: str, where: str) -> tuple[str, str, str]:
    if "\t" not in line:
        head, _, tail = line.strip().rpartition(" ")
        name, label, digest = (head.rstrip(), tail, "") if head and _is_number(tail) else (line.strip(), "", "")
    else:
        columns = line.split("\t")
        if len(columns) > 3:
            raise ImageError(f"{len(columns)} columns, where name, label and SHA-256 are known", where=where)
        name, label, digest = [*columns, ""][:3]
    name = name.removeprefix("./")
    if not name:
        raise ImageError("the line has no name", where=where)
    if digest and not _SHA256.fullmatch(digest):
        raise ImageError(f"{digest!r} is no SHA-256 in hex", where=where)
    return name, label, digest


def _label(text: str, where: str) -> int | None:
    if not text:
        return None
    if not _is_number(text) or len(text) > _MAX_DIGITS or int(text) >= _MAX_CLASSES:
        raise ImageError(
            f"the label {text!r} is not a class index", where=where, hint=f"Use 0 to {_MAX_CLASSES - 1}, or no label."
        )
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _check(listing: _Listing, path: Path, ours: bool) -> None:
    if not listing.names:
        raise ImageError("the list names no pictures", where=path)
    if not ours:
        return
    count = listing.header.get("count", "").strip()
    if count != str(len(listing.names)) or None in listing.digests:
        raise ImageError(
            f"the list is damaged: {len(listing.names)} pictures where its header says {count or 'nothing'}, "
            f"{listing.digests.count(None)} of them without SHA-256",
            where=path,
            hint="Write the list anew.",
        )


def _labels(
    listing: _Listing, where: str, wnids: Sequence[str] | None, classes: int | None
) -> tuple[list[int | None], tuple[str, ...]]:
    """The model's class index of each picture, and the names of all its classes."""
    highest = max((label for label in listing.labels if label is not None), default=None)
    if highest is None:
        return listing.labels, ()
    own = listing.header.get("classes", "").split("\t")[1:]
    total = len(own) or (highest + 1 if classes is None else classes)
    if highest >= total:
        known = "the list names" if own else "the model has"
        raise ImageError(f"label {highest} is listed, but {known} {total} classes", where=where, hint="Count from 0.")
    if own:
        indices, names = class_indices(own, where, wnids, classes)
        return [None if label is None else indices[label] for label in listing.labels], names
    names = tuple(wnids) if wnids is not None and len(wnids) == total else tuple(str(index) for index in range(total))
    return listing.labels, names
