"""Sets of pictures: files on disk, and subsets of any set, drawn balanced over classes or by exclusion."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path

from resnest_edge.errors import ImageError, UsageError
from resnest_edge.images.base import ImageSet, Pixels
from resnest_edge.images.decode import decode, read_file


class ImageFiles:
    """Picture files, in a fixed order; an :class:`~resnest_edge.images.base.ImageSet`. Safe to use from threads.

    Args:
        source: where the pictures come from, as the user gave it.
        root: the folder that relative names start from.
        names: POSIX paths, relative to ``root`` or absolute.
        labels: class index of each picture, or None.
        class_names: names of the label values; empty when nothing is labelled.
        digests: SHA-256 in hex that each file must have, or None each; checked whenever a picture is read.
        ignored: names found in the folder that are not pictures (hidden, or another extension).
    """

    def __init__(
        self,
        source: str,
        root: Path,
        names: Sequence[str],
        labels: Sequence[int | None],
        class_names: Sequence[str],
        *,
        digests: Sequence[str | None] | None = None,
        ignored: Sequence[str] = (),
    ) -> None:
        self.source = source
        self.class_names = tuple(class_names)
        self.ignored = tuple(ignored)
        self._root = root
        self._names = tuple(names)
        self._labels = tuple(labels)
        self._digests = (None,) * len(names) if digests is None else tuple(digests)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, index: int) -> str:
        """POSIX path of one picture, as listed."""
        return self._names[index]

    def label(self, index: int) -> int | None:
        """Class index of one picture, or None when unknown."""
        return self._labels[index]

    def path(self, index: int) -> Path:
        """Where one picture lies."""
        return self._root / self._names[index]

    def load(self, index: int) -> Pixels:
        """Decode one picture: HWC uint8 RGB; see :func:`~resnest_edge.images.decode.decode`.

        Raises:
            ImageError: the file is missing, damaged or not an image, or changed since it was listed.
        """
        path = self.path(index)
        return decode(self._read(index), str(path))

    def digest(self, index: int) -> str:
        """SHA-256 of one file's bytes, in hex; the recorded one where the list recorded it.

        Raises:
            ImageError: the file cannot be read.
        """
        return self._digests[index] or hashlib.sha256(self._read(index)).hexdigest()

    def _read(self, index: int) -> bytes:
        data = read_file(self.path(index))
        expected = self._digests[index]
        if expected is not None and hashlib.sha256(data).hexdigest() != expected:
            raise ImageError(
                "the picture changed since it was listed: its SHA-256 differs",
                where=self.path(index),
                hint="Restore the file, or write the list anew.",
            )
        return data


class Subset:
    """Some pictures of another set, in an order of their own; an :class:`~resnest_edge.images.base.ImageSet`.

    Args:
        images: the set they are taken from.
        indices: which, as indices into it.
        seed: the seed they were drawn with, when they were.
    """

    def __init__(self, images: ImageSet, indices: Sequence[int], *, seed: int | None = None) -> None:
        self.source = images.source
        self.class_names = images.class_names
        self.indices = tuple(indices)
        self.seed = seed
        self._images = images

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        """Name of one picture in the set it was taken from."""
        return self._images.name(self.indices[index])

    def label(self, index: int) -> int | None:
        """Class index of one picture, or None when unknown."""
        return self._images.label(self.indices[index])

    def load(self, index: int) -> Pixels:
        """Decode one picture: HWC uint8 RGB.

        Raises:
            ImageError: as the set it was taken from.
        """
        return self._images.load(self.indices[index])

    def digest(self, index: int) -> str:
        """SHA-256 of one picture, in hex, from the set it was taken from."""
        return self._images.digest(self.indices[index])


def sample(images: ImageSet, count: int, seed: int) -> Subset:
    """Draw ``count`` pictures, balanced over classes; unlabelled pictures are drawn uniformly.

    Pictures are ranked within their class by the SHA-256 of seed and name, and taken rank by rank. So the draw
    depends on names and labels alone, not on the order of files, platform or library version; class counts
    differ by at most one until a class runs out; and a smaller draw is a prefix of a larger one. Where the set has
    fewer than ``count`` pictures, all are returned: compare ``len``.

    Raises:
        UsageError: ``count`` is below 1.
        ImageError: the set is empty.
    """
    if count < 1:
        raise UsageError(f"cannot draw {count} images", hint="Ask for at least one.")
    if len(images) == 0:
        raise ImageError("there are no pictures to draw from", where=images.source)
    by_hash = sorted(range(len(images)), key=lambda index: (_rank(seed, images.name(index)), index))
    seen: Counter[Hashable] = Counter()
    rounds: list[tuple[int, int]] = []
    for index in by_hash:
        label = images.label(index)
        rounds.append((seen[label], index))
        seen[label] += 1
    # A stable sort: within a round the order stays that of the hashes, so no class comes first by its number.
    rounds.sort(key=lambda entry: entry[0])
    return Subset(images, [index for _, index in rounds[:count]], seed=seed)


def exclude(images: ImageSet, other: ImageSet) -> Subset:
    """The pictures of ``images`` whose bytes do not occur in ``other``, in their order; possibly none.

    Reads every picture of both sets once, to compare digests: the same picture under another name is found.

    Raises:
        ImageError: a picture of either set cannot be read.
    """
    taken = {other.digest(index) for index in range(len(other))}
    return Subset(images, [index for index in range(len(images)) if images.digest(index) not in taken])


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(b"%d:" % seed + os.fsencode(name)).digest()
