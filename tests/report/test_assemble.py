from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from resnest_edge.errors import InputError
from resnest_edge.report import BundleFacts, make_report
from tests.report.samples import benchmark, evaluation, ratio, result, two, two_bundles


def test_rows_join_what_was_measured_of_each_bundle() -> None:
    fp32, int8 = two().rows
    assert (int8.bundle, int8.precision, int8.form, int8.size_mib) == ("engines/int8", "int8", "split", 26.1)
    assert (int8.images, int8.top1, int8.drop) == (2000, 87.34, 0.1)
    assert int8.drop_ci95 == pytest.approx((-0.3, 0.5))
    assert (int8.agreement, int8.logit_sqnr_db, int8.reason) == (99.1, 30.7, None)
    # latency where one image waits for itself, throughput where it is best
    assert int8.latency_ms is not None
    assert (int8.latency_ms["p50"], int8.latency_batch, int8.latency_streams) == (16.0, 1, 1)
    assert int8.images_per_second == pytest.approx(80.0)
    assert (int8.throughput_batch, int8.throughput_streams) == (8, 1)
    assert int8.speedup is not None
    assert int8.speedup["median"] == 2.5  # at the batch and streams of the latency
    assert (fp32.drop, fp32.speedup) == (None, None)


def test_what_was_not_measured_is_null_with_a_reason() -> None:
    row = two(evaluations=(), benchmark=None).rows[1]
    assert (row.top1, row.images, row.reason) == (None, None, "accuracy was not measured")
    assert (row.latency_ms, row.images_per_second, row.speedup, row.peak_rss_mib) == (None, None, None, None)


def test_a_bundle_may_give_a_reason_instead() -> None:
    row = two(evaluations=[evaluation("engines/fp32", 87.0), {"bundle": "engines/int8", "reason": "no GPU here"}]).rows[
        1
    ]
    assert (row.images, row.top1, row.reason) == (None, None, "no GPU here")


def test_the_date_is_now_in_utc_unless_given() -> None:
    created = datetime.fromisoformat(make_report([BundleFacts("a", "openvino", "fp32")], title="t").created)
    assert created.tzinfo is not None
    assert abs(datetime.now(timezone.utc) - created) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bundles": []}, "needs bundles"),
        ({"bundles": [BundleFacts("a", "openvino", "fp32")] * 2}, "name of its own"),
        ({"evaluations": [evaluation("stranger", 80.0)]}, "stranger was measured but is not in the report"),
        ({"evaluations": [evaluation("engines/int8", 80.0)] * 2}, "'engines/int8' was evaluated twice"),
        (
            {"evaluations": [evaluation("engines/fp32", 80.0), {**evaluation("engines/int8", 80.0), "images": 1999}]},
            r"different numbers of images: \[1999, 2000\]",
        ),
        (
            {
                "evaluations": [
                    {"bundle": "engines/fp32", "reason": "its runtime is not here"},
                    evaluation("engines/int8", 87.0, 0.0, agreement=99.0),
                ]
            },
            "engines/int8 was compared with something else than engines/fp32, which was not evaluated",
        ),
        (
            {"evaluations": [evaluation("engines/fp32", 87.0), evaluation("engines/int8", 86.0, 0.5)]},
            "engines/int8 was compared with a top-1 of 86.500 %, but engines/fp32 has 87.000 %",
        ),
        ({"benchmark": benchmark([result("stranger", 1.0)], [])}, "stranger was measured"),
        (
            {"benchmark": benchmark([], [ratio("engines/fp32", "engines/int8", 2.0)])},
            "ratios are against engines/int8, but the report's first bundle is engines/fp32",
        ),
    ],
)
def test_measurements_that_do_not_belong_together_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_report(**{**two_bundles(), **changes})
