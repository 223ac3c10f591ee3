from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.report import Report, Row
from resnest_edge.report.words import (
    environment_lines,
    evidence,
    headline,
    labels,
    measure,
    method,
    number,
    signed,
    when,
)
from tests.report.samples import many, two, unlabelled


def changed(**changes: Any) -> Report:
    report = two()
    return replace(report, rows=(report.rows[0], replace(report.rows[1], **changes)))


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


SPEED = {"median": 2.5, "min": 2.0, "q25": 2.3, "q75": 2.6, "max": 3.0}


NONE_APART = "The interval includes zero: on these 2,000 images the two cannot be told apart."


@pytest.mark.parametrize(
    ("changes", "claim", "sure"),
    [
        (
            {"drop": 0.1, "drop_ci95": (-0.1, 0.3)},
            "INT8 is 2.50× faster than FP32 at −0.10 points of top-1, 95 % interval −0.30 to +0.10.",
            NONE_APART,
        ),
        (
            {"drop": -0.2, "drop_ci95": (-0.5, -0.1)},
            "INT8 is 2.50× faster than FP32 at +0.20 points of top-1, 95 % interval +0.10 to +0.50.",
            "On 2,000 images the interval excludes zero: the gain is real.",
        ),
        (
            {"drop": 40.0, "drop_ci95": (38.0, 42.0), "speedup": {**SPEED, "median": 0.8, "q25": 0.7, "q75": 0.9}},
            "INT8 is slower than FP32 (0.80× its speed) at −40.00 points of top-1, 95 % interval −42.00 to −38.00.",
            "On 2,000 images the interval excludes zero: the loss is real.",
        ),
        (
            {"drop": 0.0, "drop_ci95": (-0.2, 0.2), "speedup": {**SPEED, "median": 1.01, "q25": 0.99, "q75": 1.03}},
            "INT8 is as fast as FP32 (1.01×) at 0.00 points of top-1, 95 % interval −0.20 to +0.20.",
            NONE_APART,
        ),
        (
            {"drop": 0.1, "drop_ci95": (-0.1, 0.3), "speedup": None},
            "INT8 against FP32: −0.10 points of top-1, 95 % interval −0.30 to +0.10; speed was not measured.",
            NONE_APART,
        ),
        (
            {"drop": None, "drop_ci95": None, "agreement": None},
            "INT8 is 2.50× faster than FP32; accuracy was not measured.",
            "half of the rounds lie between 2.38× and 2.62×.",
        ),
    ],
)
def test_the_headline_says_which_way(changes: dict[str, Any], claim: str, sure: str) -> None:
    report = changed(**changes)
    assert plain(headline(report)) == claim
    assert plain(evidence(report)).endswith(sure)


def test_the_evidence_gives_both_throughputs_and_the_spread_of_the_ratio() -> None:
    words = "At batch 1: 62.5 images/s against 25.0 images/s; half of the rounds lie between 2.38× and 2.62×."
    assert plain(evidence(two())).startswith(words)


def test_the_headline_without_labels_speaks_of_agreement() -> None:
    found = "INT8 is 2.50× faster than FP32 and names the same class on 98.50 % of the images, which have no labels."
    assert plain(headline(unlabelled())) == found
    assert "told apart" not in evidence(unlabelled())


def test_the_headline_of_one_engine_and_of_nothing_measured() -> None:
    alone = replace(two(), rows=two().rows[:1])
    assert plain(headline(alone)) == "FP32 answers an image in 40.0 ms and is right on 87.44 % of 2,000 images."
    bare = two(evaluations=(), benchmark=None)
    assert headline(bare) == "INT8 against FP32: accuracy was not measured; speed was not measured."
    assert evidence(bare) == ""
    assert headline(replace(bare, rows=bare.rows[:1])) == "FP32 was built, and not measured."


def test_the_headline_is_about_the_fastest() -> None:
    report = two()
    quicker = replace(report.rows[1], bundle="b", precision="fp16", speedup={**SPEED, "median": 4.0, "q25": 3.9})
    assert headline(replace(report, rows=(*report.rows, quicker))).startswith("FP16 is 4.00× faster than FP32 at ")


def test_labels_are_as_short_as_they_can_be() -> None:
    rows = [
        Row("a", "openvino", "fp32"),
        Row("b", "openvino", "int8"),
        Row("c", "onnxruntime", "int8"),
        Row("d", "tensorrt-rtx", "fp16"),
        Row("e", "tensorrt-rtx", "fp16"),
        Row("f", "tensorrt", "bf16", form="split"),
        Row("g", "tensorrt", "bf16", form="dense"),
    ]
    expected = ["FP32", "INT8 OpenVINO", "INT8 ONNX Runtime", "d", "e", "BF16 TensorRT split", "BF16 TensorRT dense"]
    assert labels(rows) == expected
    assert len(set(labels(many(9).rows))) == 9


@given(st.floats(-1e6, 1e6), st.integers(0, 4))
def test_numbers_read_back(value: float, digits: int) -> None:
    text = number(value, digits)
    assert float(text.replace(",", "").replace("\N{MINUS SIGN}", "-")) == round(value, digits)
    assert "-" not in text
    if float(text.replace(",", "").replace("\N{MINUS SIGN}", "-")) == 0:
        assert "\N{MINUS SIGN}" not in text


def test_drops_and_measures_in_words() -> None:
    assert [signed(value) for value in (0.3, -0.1, 0.001, -0.0, -0.001)] == ["+0.30", "−0.10", "0.00", "0.00", "0.00"]
    assert [plain(measure(value, "ms")) for value in (0.213, 7.214, 46.04, 1204.2)] == [
        "0.21 ms",
        "7.21 ms",
        "46.0 ms",
        "1,204 ms",
    ]
    assert when("2026-01-05T11:12:44+01:00") == "2026-01-05 10:12 UTC"
    assert when("last week") == "last week"


def test_the_environment_is_flat() -> None:
    given_values = {
        "cpu_isa": ["avx2", "amx"],
        "memory_gib": 7.8,
        "versions": {"numpy": "2.4", "python": "3.11"},
        "gpu": None,
    }
    assert environment_lines(given_values) == [
        ("CPU ISA", "avx2, amx"),
        ("memory GiB", "7.8"),
        ("versions", "numpy 2.4, python 3.11"),
        ("GPU", "–"),
    ]


def test_the_method_tells_what_was_done() -> None:
    accuracy, speed = method(two())
    assert "same 2,000 images" in accuracy
    assert "negative when accuracy is lost" in accuracy
    assert "10 rounds" in speed
    assert "2 cores, as many threads as cores, load average 0.31 before the start, fed frames of noise" in speed
    given_others = replace(two(), conditions={**two().conditions, "other_work_cores": 0.024})
    assert "0.31 before the start and other work on 0.02 cores meanwhile, fed" in method(given_others)[1]
    assert method(two(evaluations=(), benchmark=None)) == ["Accuracy was not measured.", "Speed was not measured."]
    assert "Without top-1: FP32 and INT8 (the images are not labelled)." in method(unlabelled())[0]
