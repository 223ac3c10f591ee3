from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnest_edge.errors import GateError, InputError
from resnest_edge.measure import Accuracy, compare, evaluate
from resnest_edge.measure.statistics import paired_drop, wilson
from tests.measure.fakes import SIDE, LookupSession


@dataclass(frozen=True)
class FakeBatch:
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]


def batches(labels: list[int], size: int = 4) -> Iterator[FakeBatch]:
    """Pictures 0, 1, 2 … whose first pixel spells their number."""
    for start in range(0, len(labels), size):
        numbers = np.arange(start, min(start + size, len(labels)))
        images = np.zeros((len(numbers), SIDE, SIDE, 3), dtype=np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = numbers % 256, numbers // 256
        yield FakeBatch(images, np.array(labels[start : start + size], dtype=np.int64), numbers.astype(np.int64))


def table(images: int, classes: int = 10, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(images, classes)).astype(np.float32)


def answered(logits: npt.NDArray[np.float32], labels: list[int]) -> Accuracy:
    with LookupSession(logits) as session:
        return evaluate(session, batches(labels))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_every_image_is_answered_once_and_in_order(images: int, given_size: int, taken: int, streams: int) -> None:
    logits = table(images)
    labels = [number % 10 for number in range(images)]
    done: list[int] = []
    session = LookupSession(logits, batch=taken, streams=streams)
    with session:
        accuracy = evaluate(session, batches(labels, given_size), on_progress=done.append)
    assert session.submitted == math.ceil(images / taken)
    assert np.array_equal(accuracy.logits, logits)
    assert accuracy.labels is not None
    assert accuracy.labels.tolist() == labels
    assert accuracy.indices.tolist() == list(range(images))
    assert done[-1] == images
    assert done == sorted(set(done))


def test_json_has_the_promised_keys_and_values() -> None:
    logits = np.zeros((4, 6), dtype=np.float32)
    logits[0, 2] = 1  # right
    logits[1, [0, 1, 2, 3, 5]] = 1  # label 4 comes sixth
    logits[2, [0, 5]] = 1  # label 5 ties with class 0 and ranks second
    logits[3, 1] = 1  # right
    value = answered(logits, [2, 4, 5, 1]).to_json("engines/cam")
    low, high = wilson(2, 4)
    assert value == {"bundle": "engines/cam", "images": 4, "top1": 50.0, "top1_ci95": [low, high], "top5": 75.0}
    json.dumps(value, allow_nan=False)


def test_five_places_mean_nothing_below_five_classes() -> None:
    assert answered(table(3, classes=4), [0, 1, 2]).top5 is None
    assert answered(table(3, classes=5), [0, 1, 2]).top5 == 100


def test_comparison_counts_pairs() -> None:
    images = 300
    labels = [number % 10 for number in range(images)]
    perfect = np.eye(10, dtype=np.float32)[labels]
    worse = perfect.copy()
    worse[:9] = np.roll(worse[:9], 1, axis=1)  # nine images lost
    reference = perfect.copy()
    reference[20:23] = np.roll(reference[20:23], 1, axis=1)  # three images that only the candidate gets right
    comparison = compare(answered(worse, labels), answered(reference, labels))
    assert (comparison.lost, comparison.gained) == (9, 3)
    assert comparison.reference_top1 == 99.0
    assert comparison.drop == pytest.approx(2.0)  # points; positive is a loss
    assert comparison.drop_ci95 == paired_drop(9, 3, images)
    assert comparison.agreement == 96.0
    assert comparison.agreement_ci95 == wilson(288, 300)
    # twelve rows differ, by 1 in two places each: signal 300, noise 24
    assert comparison.logit_sqnr_db == pytest.approx(10 * math.log10(300 / 24))
    value = comparison.to_json()
    assert {"reference_top1", "drop", "drop_ci95", "agreement", "logit_sqnr_db"} <= set(value)
    json.dumps(value, allow_nan=False)


def test_equal_logits_have_no_noise_and_json_says_so_without_infinity() -> None:
    accuracy = answered(table(8), [0] * 8)
    comparison = compare(accuracy, accuracy)
    assert comparison.logit_sqnr_db == math.inf
    value = comparison.to_json()
    assert value["logit_sqnr_db"] is None
    assert value["logits_identical"] is True
    assert (value["drop"], value["agreement"], value["kl"]) == (0.0, 100.0, 0.0)
    json.dumps(value, allow_nan=False)


def test_without_labels_agreement_is_still_measured() -> None:
    reference = answered(table(50), [-1] * 50)
    value = reference.to_json("fp32")
    assert (value["top1"], value["top1_ci95"], value["top5"]) == (None, None, None)
    assert value["reason"] == "the images are not labelled"
    noisy = answered(table(50) + np.float32(0.1) * table(50, seed=1), [-1] * 50)
    comparison = compare(noisy, reference)
    assert (comparison.drop, comparison.drop_ci95, comparison.lost) == (None, None, None)
    assert 80 < comparison.agreement < 100
    assert comparison.logit_sqnr_db == pytest.approx(20, abs=1)  # noise of a tenth, 500 draws


def test_some_labels_are_refused() -> None:
    with pytest.raises(InputError, match="2 of 5 images have no label"):
        answered(table(5), [0, -1, 2, -1, 4])


def test_a_label_beyond_the_classes_is_refused() -> None:
    with pytest.raises(InputError, match="label 10, but the model has 10 classes"):
        answered(table(3), [0, 10, 1])


def test_no_images_are_refused() -> None:
    with pytest.raises(InputError, match="no images"):
        answered(table(1), [])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_output_that_is_no_number_names_its_image(bad: float, batch: int) -> None:
    logits = table(10)
    logits[7, 3] = bad
    with LookupSession(logits, batch=batch, streams=2) as session, pytest.raises(GateError, match="image 7 ") as error:
        evaluate(session, batches([0] * 10))
    assert error.value.exit_code == 1


def test_images_of_another_size_are_refused() -> None:
    batch = FakeBatch(np.zeros((1, SIDE + 1, SIDE, 3), dtype=np.uint8), np.array([0]), np.array([0]))
    with LookupSession(table(1)) as session, pytest.raises(InputError, match=r"takes \(N, 8, 8, 3\) uint8"):
        evaluate(session, [batch])


def test_different_images_are_not_compared() -> None:
    accuracy = answered(table(6), [0] * 6)
    with pytest.raises(InputError, match="6 images in 10 classes cannot be compared with 5 images"):
        compare(accuracy, answered(table(5), [0] * 5))
    with pytest.raises(InputError, match="different images"):
        compare(accuracy, Accuracy(accuracy.logits, accuracy.labels, accuracy.indices + 1))
    with pytest.raises(InputError, match="different images"):
        compare(accuracy, answered(table(6), [1] * 6))
    with pytest.raises(InputError, match="different images"):
        compare(accuracy, answered(table(6), [-1] * 6))
