"""Real handwritten digits: the 1,797 of scikit-learn's ``load_digits``, as they are.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
(CC BY 4.0), test part. Each is 8×8 with values 0 (paper) to 16 (ink).
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np
import numpy.typing as npt

SIDE = 8
INK = 16
_TEST_EVERY = 4


@lru_cache(maxsize=1)
def load_digits() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """All digits (1797, 8, 8) uint8 in [0, 16], and their labels (1797) in [0, 9]."""
    with (
        as_file(files("resnest_edge.demo").joinpath("digits.npz")) as path,
        np.load(path, allow_pickle=False) as archive,
    ):
        return archive["images"], archive["labels"]


@lru_cache(maxsize=2)
def split_indices(split: str) -> tuple[tuple[int, ...], ...]:
    """For each label, the digits that belong to ``train`` or ``test``: every fourth of a label is a test digit."""
    _, labels = load_digits()
    chosen = []
    for label in range(10):
        own = np.flatnonzero(labels == label)
        is_test = np.arange(len(own)) % _TEST_EVERY == _TEST_EVERY - 1
        chosen.append(tuple(int(index) for index in own[is_test if split == "test" else ~is_test]))
    return tuple(chosen)
