"""Signs of wrong calibration images: each is told by what it is, and good images tell nothing."""

from __future__ import annotations

import numpy as np
import pytest

from resnest_edge.calibration.collect import Statistics
from resnest_edge.calibration.scales import TensorRange
from resnest_edge.calibration.signs import FEW, calibration_signs, domain_signs, saturated_share
from resnest_edge.spec import QdqStyle


def seen(images: int = FEW, *, pixels: float = 1.0, hidden: float = 1.0, seed: int = 0) -> Statistics:
    """Statistics of normal pixels and a rectified hidden tensor, of the given sizes."""
    generator = np.random.default_rng(seed)
    statistics = Statistics("graph", ["images", "hidden"])
    values = generator.standard_normal((images, 300)).astype(np.float32)
    statistics.update([values * pixels, np.maximum(values, 0) * hidden], ["digest"] * images)
    return statistics


def test_good_images_tell_nothing() -> None:
    assert calibration_signs(seen(), "images") == []
    scales = seen().scales("mse", QdqStyle.CPU)
    assert domain_signs(seen(seed=1), scales) == []


def test_few_images_are_told() -> None:
    (sign,) = calibration_signs(seen(FEW - 1), "images")
    assert f"{FEW - 1} calibration images are few" in sign


def test_one_colour_is_told() -> None:
    (sign,) = calibration_signs(seen(pixels=0.05), "images")
    assert "almost of one colour" in sign


def test_tensors_that_never_change_are_told_by_name() -> None:
    (sign,) = calibration_signs(seen(hidden=0.0), "images")
    assert sign.startswith("1 of 2 tensors never change") and "hidden" in sign


def test_images_of_another_kind_are_told_with_the_worst_tensor() -> None:
    (sign,) = domain_signs(seen(hidden=30.0), seen().scales("max", QdqStyle.CPU))
    assert "of another kind" in sign and "most in hidden" in sign


@pytest.mark.parametrize(("low", "high", "expected"), [(-10, 10, 0.0), (0, 10, 0.5), (-10, 0, 0.5), (1, 10, 0.841)])
def test_the_saturated_share_is_that_of_the_normal_distribution(low: float, high: float, expected: float) -> None:
    observer = seen(200).observers["images"]
    # 60,000 samples: a standard error of 0.002; bins are 2⁻⁹ wide
    assert saturated_share(observer, TensorRange(low, high, low, high)) == pytest.approx(expected, abs=0.01)
