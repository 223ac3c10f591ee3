"""Moments of layers beside those of the training: right images tell nothing, each fault is told by its figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.calibration.moments import OTHER_IMAGES, Moments, MomentsObserver, Pixels, shift, training_signs

CHANNELS = 200
USUAL = Pixels(32, (0.1, 0.0, -0.1), 1.0, grey=False)


def remembered() -> dict[str, Moments]:
    generator = np.random.default_rng(0)
    return {
        name: Moments(generator.standard_normal(CHANNELS), generator.uniform(0.5, 2, CHANNELS))
        for name in ("stem.conv1", "layer1.0.conv1")
    }


def moved(by: float, layer: str | None = None) -> dict[str, Moments]:
    """What is seen where every channel's mean is off by so many deviations, in one layer or in all."""
    return {
        name: replace(kept, mean=kept.mean + by * kept.deviation) if layer in (None, name) else kept
        for name, kept in remembered().items()
    }


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 100))
def test_the_moments_are_those_of_all_images_at_once(sizes: list[int], seed: int) -> None:
    outputs = np.random.default_rng(seed).standard_normal((sum(sizes), 3, 5, 5)).astype(np.float32)
    observer = MomentsObserver(["layer"])
    start = 0
    for size in sizes:
        batch = outputs[start : start + size]
        observer.update([batch.mean((2, 3)), np.square(batch).mean((2, 3))])
        start += size
    found = observer.moments()["layer"]
    assert observer.images == sum(sizes)
    np.testing.assert_allclose(found.mean, outputs.mean((0, 2, 3), np.float64), atol=1e-6)
    np.testing.assert_allclose(found.deviation, outputs.std((0, 2, 3), np.float64), atol=1e-6)


@pytest.mark.parametrize("by", [-1.5, 0.0, 0.3])
def test_a_shift_is_counted_in_deviations(by: float) -> None:
    assert shift(moved(by)["stem.conv1"], remembered()["stem.conv1"]) == pytest.approx(abs(by))


def test_a_channel_that_batch_norm_switched_off_says_nothing() -> None:
    kept = remembered()["stem.conv1"]
    off = replace(kept, deviation=np.where(np.arange(CHANNELS) < 150, 1e-9, kept.deviation))
    assert shift(replace(off, mean=off.mean + 1e-3), off) < 0.01


def told(seen: dict[str, Moments], pixels: Pixels = USUAL) -> list[str]:
    return training_signs(seen, remembered(), pixels)


def test_right_images_tell_nothing() -> None:
    assert told(moved(0.9 * OTHER_IMAGES)) == []


def test_nothing_is_known_of_a_foreign_model() -> None:
    assert training_signs({}, {}, USUAL) == []


def test_other_images_are_told_with_the_worst_layer_and_the_pixels() -> None:
    (sign,) = told(moved(1.0, "layer1.0.conv1"), replace(USUAL, deviation=0.4))
    assert "trained on other images" in sign and "off by 0.50" in sign and "most in layer1.0.conv1 (1.0)" in sign
    assert "mean 0.00 and deviation 0.40" in sign and "--mean" in sign


@pytest.mark.parametrize(("images", "signs"), [(1, 0), (2, 0), (9, 1), (10, 1), (1000, 1)])
def test_very_few_images_may_scatter(images: int, signs: int) -> None:
    assert len(told(moved(0.25), replace(USUAL, images=images))) == signs


def test_grey_images_are_told() -> None:
    (sign,) = told(moved(0.0), replace(USUAL, grey=True))
    assert "images are grey" in sign


def test_dead_channels_are_told_with_the_worst_layer() -> None:
    seen, kept = moved(0.0), remembered()["layer1.0.conv1"]
    still = replace(kept, deviation=np.where(np.arange(CHANNELS) < 30, 0.0, kept.deviation))
    (sign,) = told({**seen, "layer1.0.conv1": still})
    assert sign.startswith("30 of 400 channels are dead") and "most in layer1.0.conv1 (30 of 200)" in sign
    few = replace(kept, deviation=np.where(np.arange(CHANNELS) < 3, 0.0, kept.deviation))
    assert told({**seen, "layer1.0.conv1": few}) == []
