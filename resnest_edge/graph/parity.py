"""The check that always runs: a rewritten network must answer as the one it came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.errors import ParityError

TOLERANCE = 1e-4
"""Largest difference of a logit allowed between PyTorch and the graph, in standard deviations of the logits."""


def check_parity(reference: npt.NDArray[Any], candidate: npt.NDArray[Any], *, what: str) -> float:
    """Compare two logit arrays of one shape.

    Returns:
        The largest absolute difference over the standard deviation of ``reference``.

    Raises:
        ParityError: the difference exceeds :data:`TOLERANCE`, or is not a number.
    """
    if reference.shape != candidate.shape:
        raise ParityError(f"{what}: shapes {reference.shape} and {candidate.shape} differ")
    spread = max(float(np.std(reference.astype(np.float64))), 1e-12)
    difference = float(np.max(np.abs(reference.astype(np.float64) - candidate.astype(np.float64)))) / spread
    if not difference <= TOLERANCE:
        raise ParityError(
            f"{what}: logits differ by {difference:.2e} of their standard deviation, more than {TOLERANCE:.0e}",
            hint="This is a defect of the export, not of the weights: please report it with the checkpoint's shape.",
        )
    return difference
