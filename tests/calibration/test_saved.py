"""Statistics in a file: what comes back is what was written, and anything else is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.calibration.collect import Statistics
from resnest_edge.calibration.observers import BINS, HistogramObserver
from resnest_edge.calibration.ranges import METHODS
from resnest_edge.calibration.saved import load_statistics, save_statistics
from resnest_edge.errors import ScalesError
from resnest_edge.spec import QdqStyle


def seen(scales: list[float], images: int = 3) -> Statistics:
    """Statistics of a tensor a scale; a scale of zero is a dead tensor."""
    statistics = Statistics("graph", [f"tensor {index}" for index in range(len(scales))])
    values = np.random.default_rng(0).standard_normal((images, 500)).astype(np.float32)
    statistics.update([values * np.float32(scale) for scale in scales], [f"image {k}" for k in range(images)])
    return statistics


@given(st.lists(st.sampled_from([0.0, 1e-30, 0.01, 1.0, 77.0, 1e30]), max_size=4), st.integers(1, 4))
def test_a_round_trip_gives_the_same_scales(
    tmp_path_factory: pytest.TempPathFactory, scales: list[float], images: int
) -> None:
    path = tmp_path_factory.mktemp("saved") / "statistics.npz"
    statistics = seen(scales, images)
    save_statistics(statistics, path)
    again = load_statistics(path)
    assert (again.graph_digest, again.images, again.images_digest) == ("graph", images, statistics.images_digest)
    assert list(again.observers) == list(statistics.observers)
    for method in METHODS:
        assert again.scales(method, QdqStyle.CPU) == statistics.scales(method, QdqStyle.CPU)


def test_a_tensor_that_saw_nothing_comes_back_so(tmp_path: Path) -> None:
    save_statistics(Statistics("graph", ["a"]), tmp_path / "statistics.npz")
    again = load_statistics(tmp_path / "statistics.npz")
    assert again.images == 0 and again.observers["a"].exponent is None
    again.observers["a"].update(np.ones(3, np.float32))
    assert again.observers["a"].maximum == 1.0


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x05\x06" + bytes(18)], ids=["empty", "text", "empty zip"])
def test_a_file_that_holds_no_statistics_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "statistics.npz").write_bytes(data)
    with pytest.raises(ScalesError, match="not usable statistics"):
        load_statistics(tmp_path / "statistics.npz")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "statistics.npz", names=np.array([{"code": "runs"}], dtype=object))
    with pytest.raises(ScalesError, match="allow_pickle=False"):
        load_statistics(tmp_path / "statistics.npz")


COUNTS = np.zeros(2 * BINS, np.int64)
ONE = COUNTS.copy()
ONE[BINS] = 1


@pytest.mark.parametrize(
    ("low", "high", "exponent", "counts"),
    [
        (0.0, 1.0, 1, ONE[:-1]),
        (0.0, 1.0, 1, ONE.astype(np.float64)),
        (0.0, 1.0, 1, -ONE),
        (0.0, 1.0, None, ONE),
        (1.0, 0.0, 1, ONE),
        (0.0, 1.0, 1, COUNTS),
    ],
    ids=["too few", "floats", "negative", "no range", "no values", "no counts"],
)
def test_counts_that_no_observer_can_have_are_refused(
    low: float, high: float, exponent: int | None, counts: np.ndarray
) -> None:
    with pytest.raises(ValueError, match="tensor: "):
        HistogramObserver.restore("tensor", low, high, exponent, counts)
