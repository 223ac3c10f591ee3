"""Answers: top-k against a sort, smoothing against its closed form, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from resnest_edge.camera.answers import Answerer
from resnest_edge.errors import InputError, UsageError

CLASSES = 5
LABELS = [f"class {index}" for index in range(CLASSES)]
Vector = npt.NDArray[np.float32]

vectors = arrays(np.float32, CLASSES, elements=st.floats(0, 1, width=32))


def softmax(logits: npt.NDArray[Any]) -> Vector:
    powers = np.exp(logits - logits.max())
    result: Vector = (powers / powers.sum()).astype(np.float32)
    return result


@given(vectors, st.integers(1, 9), st.floats(0, 1))
def test_answers_are_the_largest_at_or_above_the_threshold(values: Vector, top_k: int, threshold: float) -> None:
    answers = Answerer(LABELS, top_k=top_k, threshold=threshold)("a", values)
    ranked = sorted(range(CLASSES), key=lambda index: (-float(values[index]), index))
    assert [answer.index for answer in answers] == [i for i in ranked[:top_k] if float(values[i]) >= threshold]
    assert all(answer.label == LABELS[answer.index] for answer in answers)
    assert all(answer.probability == float(values[answer.index]) for answer in answers)


@given(st.lists(vectors, min_size=1, max_size=12), st.floats(0.01, 0.99))
def test_smoothing_is_the_weighted_sum_of_all_frames(frames: list[Vector], smoothing: float) -> None:
    answerer = Answerer(LABELS, top_k=CLASSES, smoothing=smoothing)
    answers = [answerer("a", frame) for frame in frames][-1]
    last = len(frames) - 1
    weights = [smoothing**last, *((1 - smoothing) * smoothing ** (last - t) for t in range(1, last + 1))]
    expected = sum(weight * frame.astype(np.float64) for weight, frame in zip(weights, frames, strict=True))
    got = {answer.index: answer.probability for answer in answers}
    np.testing.assert_allclose([got[index] for index in range(CLASSES)], expected, rtol=0, atol=1e-12)


@given(st.lists(arrays(np.float64, CLASSES, elements=st.floats(-20, 20)), min_size=1, max_size=8), st.floats(0, 0.99))
def test_probabilities_still_add_up_to_one(logits: list[npt.NDArray[Any]], smoothing: float) -> None:
    answerer = Answerer(LABELS, top_k=CLASSES, smoothing=smoothing)
    for frame in logits:
        assert sum(answer.probability for answer in answerer("a", softmax(frame))) == pytest.approx(1.0, abs=1e-5)


@given(st.lists(st.tuples(st.sampled_from("abc"), vectors), max_size=15))
def test_sources_do_not_see_each_other(frames: list[tuple[str, Vector]]) -> None:
    together = Answerer(LABELS, top_k=CLASSES, smoothing=0.7)
    alone = {source: Answerer(LABELS, top_k=CLASSES, smoothing=0.7) for source in "abc"}
    for source, frame in frames:
        assert together(source, frame) == alone[source]("only", frame)


def test_without_smoothing_nothing_is_remembered() -> None:
    answerer = Answerer(LABELS)
    first, second = np.eye(CLASSES, dtype=np.float32)[:2]
    assert [answer.index for frame in (first, second) for answer in answerer("a", frame)] == [0, 1]


def test_a_forgotten_source_begins_anew() -> None:
    answerer = Answerer(LABELS, smoothing=0.9)
    first, second = np.eye(CLASSES, dtype=np.float32)[:2]
    answerer("a", first)
    assert answerer("a", second)[0].index == 0  # remembered
    answerer.forget("a")
    answerer.forget("never seen")
    (answer,) = answerer("a", second)
    assert (answer.index, answer.probability) == (1, 1.0)


def test_bad_probabilities_are_refused_and_not_remembered() -> None:
    answerer = Answerer(LABELS, smoothing=0.5)
    even = np.full(CLASSES, 0.2, np.float32)
    before = answerer("a", even)
    for bad in (np.ones(CLASSES - 1, np.float32), np.ones((1, CLASSES), np.float32)):
        with pytest.raises(InputError, match="5 labels"):
            answerer("a", bad)
    for value in (np.nan, np.inf):
        with pytest.raises(InputError, match="not finite"):
            answerer("a", np.full(CLASSES, value, np.float32))
    assert answerer("a", even) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top-k"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"smoothing": 1.0}, "smoothing"),
        ({"smoothing": -0.1}, "smoothing"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Answerer(LABELS, **options)


def test_no_labels_are_refused() -> None:
    with pytest.raises(UsageError, match="no labels"):
        Answerer([])
