"""The camera's benchmark and soak on engines of the tests: what they count, and what they refuse to call flat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import camera
from benchmarks.soak import MINUTE, Sample, soak, verdict
from resnest_edge.camera.base import SourceCounts, SourceState
from resnest_edge.camera.summary import Summary
from tests.camera.fakes import engine
from tests.support.video import stamped, write_video

FRAMES = 20 * MINUTE
FLAT = [Sample(minute, 10.0 * minute, 200.0 + minute % 3, 14, 6) for minute in range(1, 21)]


def summary(**changes: int) -> Summary:
    counts = SourceCounts(SourceState.ENDED, **{"captured": FRAMES, "inferred": FRAMES, **changes})
    return Summary(1.0, {"camera": counts}, (), {}, 2, {}, None)


def test_a_soak_plays_the_video_over_and_over(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", map(stamped, range(30)))
    said: list[str] = []
    watcher, found = soak(engine, video, MINUTE + 100, said.append)
    (counts,) = found.sources.values()
    assert counts.captured == counts.inferred == watcher.seen == MINUTE + 100
    assert counts.reconnects == (MINUTE + 100 - 1) // 30 and found.swaps == 1
    assert len(watcher.samples) == 1 and said == [str(watcher.samples[0])]


def test_flat_is_flat() -> None:
    assert verdict(FLAT, summary(), FRAMES) == []


@pytest.mark.parametrize(
    ("samples", "changes", "message"),
    [
        ([replace(s, rss_mib=s.rss_mib + s.minute * 2) for s in FLAT], {}, "memory grew"),
        ([replace(s, descriptors=14 + s.minute) for s in FLAT], {}, "descriptors grew"),
        ([replace(s, threads=6 + s.minute // 5) for s in FLAT], {}, "threads grew"),
        (FLAT, {"inferred": FRAMES - 1}, "account"),
        (FLAT, {"inferred": FRAMES - 1, "dropped": 1}, "account"),
        (FLAT[:11], {}, "too few"),
    ],
)
def test_what_is_not(samples: list[Sample], changes: dict[str, int], message: str) -> None:
    assert any(message in text for text in verdict(samples, summary(**changes), FRAMES))


def test_missing_swaps_are_told() -> None:
    assert any("swapped 1 times, not 2" in text for text in verdict(FLAT, replace(summary(), swaps=1), FRAMES))


def test_the_benchmark_measures_both_ways_through_one_engine() -> None:
    used = engine((2,))
    pictures = [stamped(number) for number in range(4)]
    assert camera.bare(used, pictures, 0.05) > 0
    assert camera.streamed(used, pictures, 2, 0.3) > 0
    assert camera.bare(used, pictures, 0.05) > 0, "the engine is still open"


def test_overhead_is_taken_within_a_round() -> None:
    value = camera._summary([(100.0, 80.0, 50.0), (110.0, 100.0, 55.0), (90.0, 90.0, 90.0)])
    assert value["stream_overhead_percent"] == pytest.approx({"median": 10.0, "min": 0.0, "max": 25.0})
    assert value["vga_overhead_percent"]["median"] == pytest.approx(100.0) and value["bare_fps"] == 100.0
