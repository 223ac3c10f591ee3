"""Energy from counters and gauges, on made-up readings, a tree of files, and text that the tools print."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.measure import Plan, Subject, benchmark, power_sources
from resnest_edge.measure.power import Counter, Energy, Gauge, Sampler, mean_watts
from resnest_edge.measure.power_sources import (
    find_meter,
)

# ── meters ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 500)), min_size=2, max_size=20))
def test_a_gauge_is_integrated_by_trapezoids(steps: list[tuple[float, float]]) -> None:
    readings = iter([watts for _, watts in steps])
    gauge = Gauge("made up", lambda: next(readings))
    now, last, times = 0.0, 0.0, []
    for seconds, _ in steps:
        now += seconds
        times.append(now)
        last = gauge.joules(now)
    pairs = zip(times, times[1:], [w for _, w in steps], [w for _, w in steps][1:], strict=False)
    assert last == pytest.approx(sum((after - before) * (v + w) / 2 for before, after, v, w in pairs))


@given(st.integers(0, 999), st.lists(st.integers(0, 999), max_size=30))
def test_a_counter_that_wraps_loses_nothing(start: int, spent: list[int]) -> None:
    """Each step spends less than the range, so one wrap at most lies between two readings."""
    total = start
    meter = Counter("made up", [lambda: float(total % 1000)], [1000.0])
    for step in spent:
        total += step
        assert meter.joules(0.0) == total - start


def test_several_counters_add_up() -> None:
    values = [1.0, 5.0]
    meter = Counter("made up", [lambda: values[0], lambda: values[1]], [None, 6.0])
    values[:] = [3.0, 1.0]  # the second wrapped: 6 - 5 + 1
    assert meter.joules(0.0) == 4.0


def test_a_sampler_measures_stretches_and_a_lost_source_gives_its_reason() -> None:
    ticks = iter(range(100))
    readings = iter([10.0, 10.0, 20.0, 20.0])

    def watts() -> float:
        try:
            return next(readings)
        except StopIteration:
            raise OSError("unplugged") from None

    with Sampler(Gauge("meter", watts), interval=60, clock=lambda: float(next(ticks))) as sampler:
        first, second = sampler.since(sampler.mark()), sampler.since(sampler.mark())
        assert (first, second) == (Energy(10.0, 1.0), Energy(20.0, 1.0))
        assert sampler.told().source == "meter" and sampler.told().reason is None
        mark = (0.0, 0.0)
        assert sampler.since(mark) is None
    assert sampler.told().source is None
    assert "unplugged" in (sampler.told().reason or "")


def test_a_sampler_integrates_between_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that comes and goes within the stretch is seen by the thread; the ends alone would show none."""
    start = time.perf_counter()
    gauge = Gauge("meter", lambda: 100.0 if 0.05 < time.perf_counter() - start < 0.25 else 0.0)
    with Sampler(gauge, interval=0.005) as sampler:
        mark = sampler.mark()
        time.sleep(0.4)
        energy = sampler.since(mark)
    assert energy is not None
    assert 5 < energy.joules < 40  # 100 W for 0.2 s, on a machine that may be busy


def test_a_sampler_without_a_meter_measures_nothing() -> None:
    with Sampler(None, "no counter is here") as sampler:
        assert sampler.since(sampler.mark()) is None
    assert sampler.told().reason == "no counter is here" and sampler.told().source is None


def test_a_sampler_closes_its_meter() -> None:
    closed: list[bool] = []
    with Sampler(Gauge("meter", lambda: 1.0, lambda: closed.append(True)), interval=0.001):
        time.sleep(0.01)
    assert closed == [True]


def test_the_mean_is_over_time_not_over_stretches() -> None:
    assert mean_watts([Energy(10.0, 1.0), Energy(90.0, 3.0)]) == 25.0
    assert mean_watts([Energy(10.0, 1.0), None]) is None
    assert mean_watts([]) is None


# ── in a benchmark ──────────────────────────────────────────────────────────────────────────────────────────────────

OPENER = "tests.measure.fakes:open_session"


def run(folder: Path) -> dict[str, object]:
    path = folder / "cam.json"
    path.write_text(json.dumps({}))
    plan = Plan(rounds=2, seconds=0.02, warmup=0.0, timeout=60)
    value = benchmark([Subject("cam", path, "openvino")], plan, opener=OPENER).to_json()
    row: dict[str, object] = value["results"][0]
    return row


def test_a_benchmark_gives_watts_and_images_per_joule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gauge = Gauge("a steady 20 W", lambda: 20.0)
    monkeypatch.setattr("resnest_edge.measure.latency.find_meter", lambda gpu: (gauge, gauge.source))
    row = run(tmp_path)
    assert row["power_source"] == "a steady 20 W" and row["power_reason"] is None
    assert row["power_w"] == pytest.approx(20.0)
    speed, per_joule = row["images_per_second"], row["images_per_joule"]
    assert isinstance(speed, float) and isinstance(per_joule, float)
    assert math.isclose(per_joule, speed / 20.0)


def test_a_benchmark_without_a_counter_gives_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power_sources, "ina3221", lambda root: power_sources.rapl(tmp_path))
    monkeypatch.setattr("resnest_edge.measure.latency.find_meter", lambda gpu: find_meter(gpu, tmp_path))
    row = run(tmp_path)
    assert (row["power_w"], row["images_per_joule"], row["power_source"]) == (None, None, None)
    assert "RAPL" in str(row["power_reason"])
