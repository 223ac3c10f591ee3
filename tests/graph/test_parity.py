"""The parity gate: what passes, what fails, and what must never pass for want of a number."""

from __future__ import annotations

import math

import numpy as np
import pytest

from resnest_edge.errors import ParityError
from resnest_edge.graph.parity import TOLERANCE, check_parity

REFERENCE = np.array([[1.0, -1.0, 3.0], [2.0, 0.0, -4.0]], np.float32)
SPREAD = float(REFERENCE.std())


def test_the_difference_is_measured_in_standard_deviations() -> None:
    candidate = REFERENCE.astype(np.float64)
    candidate[1, 2] += 0.5 * TOLERANCE * SPREAD
    assert check_parity(REFERENCE, candidate, what="x") == pytest.approx(0.5 * TOLERANCE)
    assert check_parity(1e6 * REFERENCE, 1e6 * candidate, what="x") == pytest.approx(0.5 * TOLERANCE)
    assert check_parity(REFERENCE, REFERENCE, what="x") == 0.0


def test_one_wrong_logit_fails() -> None:
    candidate = REFERENCE.astype(np.float64)
    candidate[0, 0] -= 1.1 * TOLERANCE * SPREAD
    with pytest.raises(ParityError, match=r"the export: logits differ by 1\.10e-04.*more than 1e-04") as caught:
        check_parity(REFERENCE, candidate, what="the export")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_no_number_never_passes(value: float, side: int) -> None:
    arrays = [REFERENCE.copy(), REFERENCE.copy()]
    arrays[side][0, 0] = value
    with pytest.raises(ParityError):
        check_parity(*arrays, what="x")


def test_two_infinities_do_not_agree() -> None:
    broken = REFERENCE.copy()
    broken[0, 0] = np.inf
    with pytest.raises(ParityError), np.errstate(invalid="ignore"):
        check_parity(broken, broken, what="x")


@pytest.mark.parametrize("shape", [(3, 2), (2, 4), (6,), (1, 3)])
def test_another_shape_fails(shape: tuple[int, ...]) -> None:
    """NumPy would broadcast (1, 3) against (2, 3) and compare."""
    with pytest.raises(ParityError, match="differ"):
        check_parity(REFERENCE, np.resize(REFERENCE, shape), what="x")


def test_constant_logits_compare_without_dividing_by_zero() -> None:
    assert check_parity(np.ones((2, 3)), np.ones((2, 3)), what="x") == 0.0
