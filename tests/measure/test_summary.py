from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.measure.summary import (
    BenchmarkResult,
    Slice,
    find_warnings,
    percentiles,
    ratios,
    summarise,
    variation,
)

QUIET = {"load_average": 0.1, "cores": 2}


def result(slices: list[Slice], batch: int = 1) -> BenchmarkResult:
    loaded = {"precision": "int8", "load_seconds": 0.5, "settings": {"threads": 1}}
    final = {"peak_rss_mib": 100.0, "timings": [{}, {"compute": 1.5}]}
    return summarise("engines/cam", "openvino", (batch, 1), slices, loaded, final, 1)


def test_throughput_is_images_over_time_not_intervals() -> None:
    # three inferences of 10 ms each take 30 ms: N images over N intervals
    measured = result([Slice([10.0, 10.0, 10.0], 0.03, 12)], batch=4)
    assert measured.images_per_second == pytest.approx(12 / 0.03)
    assert (measured.samples, measured.rounds, measured.cv) == (3, 1, None)
    assert measured.timings_ms == {"compute": 1.5}


def test_rounds_are_pooled_not_averaged() -> None:
    # a slice that ran longer counts for more
    measured = result([Slice([1.0], 1.0, 100), Slice([3.0, 5.0], 3.0, 100)])
    assert measured.images_per_second == pytest.approx(200 / 4)
    assert measured.latency_ms["p50"] == 3.0
    assert measured.latency_ms["mean"] == 3.0


def test_json_has_the_promised_keys() -> None:
    value = result([Slice([1.0], 1.0, 1)]).to_json()
    promised = {"bundle", "target", "precision", "batch", "streams", "latency_ms", "images_per_second", "cv"}
    assert promised | {"peak_rss_mib"} <= set(value)
    assert set(value["latency_ms"]) == {"mean", "p50", "p90", "p95", "p99"}


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=50))
def test_percentiles_are_ordered_and_within_the_samples(samples: list[float]) -> None:
    found = percentiles(samples)
    ordered = [min(samples), found["p50"], found["p90"], found["p95"], found["p99"], max(samples)]
    assert ordered == pytest.approx(sorted(ordered))
    assert found["mean"] == pytest.approx(sum(samples) / len(samples))


def test_percentiles_of_a_hundred_and_one() -> None:
    assert percentiles(list(range(101))) == {"mean": 50, "p50": 50, "p90": 90, "p95": 95, "p99": 99}


def test_variation_is_the_sample_deviation_over_the_mean() -> None:
    assert variation([9.0, 11.0]) == pytest.approx(2**0.5 / 10)
    assert variation([7.0]) is None


def test_ratios_pair_the_rounds() -> None:
    # the machine halves its speed in the second round; the ratio does not move
    reference = [Slice([], 1.0, 100), Slice([], 1.0, 50), Slice([], 1.0, 100)]
    twice = [Slice([], 1.0, 200), Slice([], 1.0, 100), Slice([], 1.0, 300)]
    (ratio,) = ratios(["fp32", "int8"], [(8, 2)], {(0, 0): reference, (1, 0): twice})
    assert (ratio.bundle, ratio.reference, ratio.batch, ratio.streams) == ("int8", "fp32", 8, 2)
    assert ratio.speedup == {"median": 2.0, "min": 2.0, "q25": 2.0, "q75": 2.5, "max": 3.0}


def test_a_steady_quiet_measurement_has_no_warning() -> None:
    steady = result([Slice([1.0] * 60, 1.0, 60)] * 3)
    assert find_warnings([steady], QUIET) == ()


def test_warnings_name_what_is_doubtful() -> None:
    steady = result([Slice([1.0] * 60, 1.0, 60)] * 3)
    found = find_warnings(
        [
            replace(steady, cv=0.0251),
            replace(steady, batch=8, streams=2, cv=0.101, samples=99),
            replace(steady, batch=8, samples=12),
            replace(steady, cv=0.025, samples=100),
        ],
        {"load_average": 1.01, "cores": 2},
    )
    assert found == (
        "The machine was busy when the measurement began: load average 1.01 on 2 cores",
        (
            "Throughput varies by more than 2.5 % from round to round in 2 of 4 measurements, most in engines/cam at "
            "batch 8, 2 streams: by 10.1 %; ratios are taken within a round"
        ),
        "p99 rests on fewer than 100 inferences in 2 of 4 measurements, fewest in engines/cam at batch 8: on 12",
    )


@pytest.mark.parametrize(
    ("others", "load", "warned"),
    [
        (0.10, 9.0, ()),  # what made the bundles is still in the load average, and nothing ran meanwhile
        (0.11, 0.0, ("Other work had 0.11 of the 2 cores on average while this was measured",)),
        (None, 1.0, ()),
        (None, 1.01, ("The machine was busy when the measurement began: load average 1.01 on 2 cores",)),
    ],
)
def test_other_work_is_told_by_what_it_took_meanwhile(
    others: float | None, load: float, warned: tuple[str, ...]
) -> None:
    assert find_warnings([], {"load_average": load, "cores": 2, "other_work_cores": others}) == warned
