"""What every stage sees of a set of pictures: names, labels, pixels and digests, decoded one at a time."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""One decoded picture: HWC uint8 RGB, values in [0, 255]."""


class ImageSet(Protocol):
    """An ordered set of pictures. Decoding happens in :meth:`load`, so a set of any size costs no memory."""

    class_names: tuple[str, ...]
    """Names of the label values, in label order; empty when the pictures are not labelled."""

    source: str
    """Where the pictures come from, for reports: a path as the user gave it, or ``demo:test``."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Stable name of one picture, relative to ``source``."""
        ...

    def label(self, index: int) -> int | None:
        """Class index of one picture, or None when unknown."""
        ...

    def load(self, index: int) -> Pixels:
        """Decode one picture.

        Raises:
            ImageError: the file is missing, damaged or not an image; the message names it.
        """
        ...

    def digest(self, index: int) -> str:
        """SHA-256, in hex, of the encoded bytes (of the pixels for generated pictures)."""
        ...
