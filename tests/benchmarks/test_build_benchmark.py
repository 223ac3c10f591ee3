"""The tables of the build benchmark: like stages are added up, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.build import Given, known_runs, render
from resnest_edge import environment
from resnest_edge.errors import UsageError


def run(who: str, stages: dict[str, tuple[float, float, float]], images: int = 512) -> dict[str, Any]:
    rows = [
        {"stage": name, "seconds": wall, "cpu_seconds": cpu, "peak_rss_mib": peak}
        for name, (wall, cpu, peak) in stages.items()
    ]
    return {"variant": "resnest50", "image_size": 224, "who": who, "images": images, "stages": rows}


OURS = {
    "export, simplify, check": (100.0, 100.0, 1200.0),
    "calibrate: decode, run, count": (40.0, 80.0, 1300.0),
    "choose ranges, round weights, correct biases": (4.0, 8.0, 1700.0),
    "write Q/DQ": (1.0, 1.0, 1600.0),
    "build the engine": (200.0, 200.0, 1500.0),
}


def given_for(out: Path) -> Given:
    return Given("resnest50", "demo:train", "none", None, (512,), 1, ("ours",), True, out)


def test_quantizing_is_what_stands_between_two_graphs() -> None:
    page = render(
        [run("ours", OURS), run("nncf-openvino", {"export, simplify": (9, 9, 900), "quantize": (50, 98, 853)})]
    )
    assert "| resnest50 at 224 | resnest-edge, for OpenVINO | 512 | 1 | 45.0 | 89.0 | 1700 |" in page
    assert "| resnest50 at 224 | NNCF quantize, OpenVINO model | 512 | 1 | 50.0 | 98.0 | 900 |" in page


def test_runs_of_a_kind_give_a_median_and_a_range() -> None:
    faster = {**OURS, "calibrate: decode, run, count": (30.0, 60.0, 1250.0)}
    slower = {**OURS, "calibrate: decode, run, count": (41.0, 81.0, 1250.0)}
    page = render([run("ours", OURS), run("ours", faster), run("ours", slower), run("ours", OURS, images=64)])
    assert "| 512 | 3 | 45.0 (35.0 to 46.0) | 89.0 (69.0 to 90.0) | 1700 |" in page
    assert "| 64 | 1 | 45.0 | 89.0 | 1700 |" in page


def test_runs_are_added_to_those_of_the_same_machine_only(tmp_path: Path) -> None:
    assert known_runs(given_for(tmp_path)) == []
    held = {"machine": environment.describe(), "runs": [run("ours", OURS)]}
    (tmp_path / "build.json").write_text(json.dumps(held))
    assert known_runs(given_for(tmp_path)) == held["runs"]
    (tmp_path / "build.json").write_text(json.dumps({**held, "machine": {"cpu": "another"}}))
    with pytest.raises(UsageError, match="another machine"):
        known_runs(given_for(tmp_path))
