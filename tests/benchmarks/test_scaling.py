"""How cost grows: what makes a line, and the page."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scaling import growth, quantities, write_pages

BY_FILE = {quantity.file: quantity for quantity in quantities()}


def row(model: str, size: int, gmacs: float, batch: int, threads: int) -> dict[str, Any]:
    return {
        "model": model,
        "engine": "INT8 OpenVINO",
        "image_size": size,
        "gmacs": gmacs,
        "batch": batch,
        "threads": threads,
        "latency_ms": gmacs * batch / threads,
        "images_per_second": 100.0 * batch,
        "images_per_second_ci95": [90.0, 110.0],
    }


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    networks = [("resnest14d", 160, 1.4), ("resnest14d", 224, 2.7), ("resnest50", 224, 5.4)]
    return [row(*network, batch, threads) for network in networks for batch in (1, 8) for threads in (1, 2)]


def test_lines_join_what_differs_in_one_quantity_alone(rows: list[dict[str, Any]]) -> None:
    (line,) = growth(rows, BY_FILE["image-size.svg"])
    assert line.label == "resnest14d INT8 OpenVINO"
    assert [(point.x, point.y) for point in line.points] == [(160, 0.7), (224, 1.35)]  # batch 1, both threads
    (line,) = growth(rows, BY_FILE["depth.svg"])
    assert line.label == "INT8 OpenVINO 224 px"
    assert [point.x for point in line.points] == [2.7, 5.4]
    threads = growth(rows, BY_FILE["threads.svg"])
    assert [line.label for line in threads][-1] == "resnest50 INT8 OpenVINO 224 px"
    assert [(point.x, point.y) for point in threads[-1].points] == [(1, 5.4), (2, 2.7)]
    batch = growth(rows, BY_FILE["batch.svg"])
    assert len(batch) == 3
    assert [(point.x, point.y, point.low, point.high) for point in batch[0].points] == [
        (1, 100.0, 90.0, 110.0),
        (8, 800.0, 90.0, 110.0),
    ]


def test_a_single_value_is_no_line(rows: list[dict[str, Any]]) -> None:
    assert all(growth(rows[:1], quantity) == [] for quantity in quantities())


def test_the_page_shows_the_pictures_that_were_drawn(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    run = {"rows": rows, "batch": 1, "threads": 1, "warnings": ["noisy"]}
    told = {"cpu": "a CPU", "cores": 2, "cpu_isa": ["avx2"]}
    text = write_pages({"machine": told, "rounds": 3, "seconds": 0.1, "runs": [run]}, tmp_path)
    for file in BY_FILE:
        assert f"]({file})" in text
        assert ET.parse(tmp_path / file).getroot().tag.endswith("svg")
    assert "| resnest50 | INT8 OpenVINO | 224 | 5.40 | 8 | 2 | 21.60 | 800.0 | 4320 |" in text
    assert "- batch 1, 1 threads: noisy" in text
