"""A sweep's pictures of how cost grows: which lines they hold, and that a line of one value is none."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from resnest_edge.models.variants import VARIANTS
from resnest_edge.search.sweep import make_cells
from resnest_edge.search.sweep_cell import failed_row
from resnest_edge.search.sweep_journal import SweepFile, SweepRow
from resnest_edge.search.sweep_plots import growth_plots
from resnest_edge.search.sweep_table import write_pages
from resnest_edge.spec import Form, Precision, Target
from tests.report.test_plots import having, parsed
from tests.search.cells_at_work import measured
from tests.search.test_sweep import SETTINGS

PRECISIONS = (Precision.INT8, Precision.FP32)


def rows(variants: Sequence[str], sizes: Sequence[int], cells: Sequence[tuple[int, int]] = ((1, 1),)) -> list[SweepRow]:
    """Rows whose latency is their image size times their batch, in milliseconds."""
    found = []
    for cell in make_cells(variants, sizes, [Form.SPLIT], [Target.OPENVINO], PRECISIONS):
        row = measured(cell, SETTINGS)
        results = [
            {
                **row.results[0],
                "batch": batch,
                "streams": streams,
                "latency_ms": {**row.results[0]["latency_ms"], "p50": float(cell.image_size * batch)},
                "images_per_second": 100.0 * batch,
            }
            for batch, streams in cells
        ]
        found.append(replace(row, results=tuple(results)))
    return found


def drawn(found: Sequence[SweepRow]) -> dict[str, ET.Element]:
    return {plot.file: parsed(plot.picture) for plot in growth_plots(found)}


def names(picture: ET.Element) -> list[str | None]:
    return [node.text for node in having(picture, "name")]


def test_latency_over_image_size_has_a_line_for_each_engine() -> None:
    pictures = drawn(rows(["resnest50"], [160, 224, 288]))
    assert set(pictures) == {"latency-image-size.svg"}
    assert names(pictures["latency-image-size.svg"]) == ["FP32 OpenVINO", "INT8 OpenVINO"]
    marks = having(pictures["latency-image-size.svg"], "mark")
    xs, ys = ([float(node.get(axis, "")) for node in marks[:3]] for axis in ("cx", "cy"))
    assert (xs[2] - xs[0]) / (xs[1] - xs[0]) == pytest.approx(2, rel=0.01)
    assert (ys[0] - ys[2]) / (ys[0] - ys[1]) == pytest.approx(2, rel=0.01)  # latency follows size here


def test_networks_of_one_size_make_a_line_over_depth() -> None:
    pictures = drawn(rows(["resnest14d", "resnest50"], [224]))
    assert set(pictures) == {"latency-depth.svg"}
    assert names(pictures["latency-depth.svg"]) == ["FP32 OpenVINO, 224 px", "INT8 OpenVINO, 224 px"]
    ticks = [node.text for node in having(pictures["latency-depth.svg"], "tick") if node.get("text-anchor") == "middle"]
    macs = [VARIANTS[name].macs / 1e9 for name in ("resnest14d", "resnest50")]
    assert [float(text or "") for text in ticks] == pytest.approx(macs, rel=1e-3)


def test_networks_of_their_own_sizes_make_one_line_over_depth() -> None:
    pictures = drawn(rows(["resnest50", "resnest101"], []))
    assert names(pictures["latency-depth.svg"]) == ["FP32 OpenVINO", "INT8 OpenVINO"]
    assert "latency-image-size.svg" not in pictures


def test_throughput_over_batch_and_streams_at_the_least_of_the_other() -> None:
    pictures = drawn(rows(["resnest50"], [224], [(1, 1), (8, 1), (1, 2), (8, 2)]))
    assert set(pictures) == {"throughput-batch.svg", "throughput-streams.svg"}
    assert len(having(pictures["throughput-batch.svg"], "mark")) == 4
    title = next(iter(pictures["throughput-batch.svg"])).text
    assert title == "Throughput over batch at streams 1"


def test_failed_cells_and_single_values_draw_nothing() -> None:
    (cell,) = make_cells(["resnest50"], [224], [Form.SPLIT], [Target.OPENVINO], [Precision.INT8])
    assert growth_plots([failed_row(cell, "no", 2)]) == []
    assert growth_plots(rows(["resnest50"], [224])) == []


def test_the_demo_model_is_drawn_over_size_and_has_no_depth() -> None:
    assert set(drawn(rows([], [32, 64]))) == {"latency-image-size.svg"}


def test_the_pictures_stand_beside_the_page_that_shows_them(tmp_path: Path) -> None:
    found = rows(["resnest14d", "resnest50"], [160, 224])
    file = SweepFile("2026-01-05T10:12:44+00:00", "resnest-edge sweep", {}, {}, (), tuple(found))
    written = {path.name for path in write_pages(file, found, tmp_path)}
    page = (tmp_path / "sweep.md").read_text(encoding="utf-8")
    for name in ("latency-image-size.svg", "latency-depth.svg"):
        assert name in written and f"]({name})" in page
        assert ET.parse(tmp_path / name).getroot().tag.endswith("svg")
