"""Lines over a numeric axis: to scale, with intervals, a legend that does not overlap, and files of their own."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.report.layer_times import layer_figures
from resnest_edge.report.line_plot import Axis, Point, Series, line_plot
from resnest_edge.report.speed_plots import distribution_plot, size_and_power_plots, throughput_plots
from resnest_edge.report.svg import LogScale, shortened, standalone
from tests.report.samples import everything, two
from tests.report.test_plots import having, parsed

XS = (1.0, 2.0, 4.0, 8.0, 16.0)


def plot(across: Axis, down: Axis | None = None, *more: Series) -> ET.Element:
    ours = Series("ours", tuple(Point(x, 10 * x, 9 * x, 12 * x) for x in XS))
    return parsed(line_plot("A plot", [ours, *more], across, down or Axis("y", zero=True)))


def coordinates(picture: ET.Element, axis: str) -> list[float]:
    return [float(node.get(axis, "")) for node in having(picture, "mark")]


def test_points_and_intervals_are_to_scale() -> None:
    picture = plot(Axis("x"))
    xs, ys = coordinates(picture, "cx"), coordinates(picture, "cy")
    assert (xs[2] - xs[0]) / (xs[1] - xs[0]) == pytest.approx(3, rel=0.01)
    assert (ys[0] - ys[2]) / (ys[0] - ys[1]) == pytest.approx(3, rel=0.01)
    upright = [node for node in having(picture, "whisker") if node.get("x1") == node.get("x2")]
    lengths = [float(node.get("y1", "")) - float(node.get("y2", "")) for node in upright]
    assert len(lengths) == len(XS)
    assert lengths[4] / lengths[1] == pytest.approx(8, rel=0.03)


def test_a_wide_range_of_x_is_logarithmic_when_left_to_choose() -> None:
    xs = coordinates(plot(Axis("x", logarithmic=None)), "cx")
    steps = [b - a for a, b in pairwise(xs)]
    assert steps == pytest.approx([steps[0]] * 4, abs=0.02)
    ticks = [
        node.text for node in having(plot(Axis("x", logarithmic=None)), "tick") if node.get("text-anchor") == "middle"
    ]
    assert ticks == ["1", "2", "4", "8", "16"]  # the values themselves


def test_series_take_colours_in_turn_and_stand_in_the_legend() -> None:
    others = [Series(f"runtime number {n}", (Point(1, n), Point(2, n)), dashed=n == 1) for n in range(1, 4)]
    picture = plot(Axis("x"), None, *others)
    names = having(picture, "name")
    assert [node.text for node in names] == ["ours", "runtime number 1", "runtime number 2", "runtime number 3"]
    assert [(node.get("class") or "").split()[-1] for node in names] == ["c1", "c2", "c3", "c4"]
    places = [(float(node.get("x", "")), float(node.get("y", ""))) for node in names]
    assert len(set(places)) == 4
    assert len(having(picture, "dashed")) == 2  # in the legend and in the plot


def is_curve(part: ET.Element) -> bool:
    return "curve" in (part.get("class") or "").split()


def test_no_two_of_many_series_look_alike() -> None:
    picture = plot(Axis("x"), None, *[Series(f"network {n}", (Point(1, n), Point(2, n))) for n in range(12)])
    looks = [(group.get("class"), part.get("class")) for group in picture.iter() for part in group if is_curve(part)]
    assert len(looks) == 2 * 13 and len(set(looks)) == 13


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=10))
def test_a_logarithmic_scale_holds_its_values(values: list[float]) -> None:
    scale = LogScale.around(values, 10, 210)
    places = [scale(value) for value in values]
    assert all(10 - 1e-6 <= place <= 210 + 1e-6 for place in places)
    assert sorted(places) == pytest.approx([scale(value) for value in sorted(values)])
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks())
    assert len(scale.ticks()) <= 12


def test_a_file_of_its_own_has_its_colours_and_parses() -> None:
    ours = Series("<ours> & others", (Point(1, 1), Point(2, 3)))
    text = standalone(line_plot("A <plot>", [ours], Axis("x"), Axis("y")))
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme:dark" in text and "--c:#1d5fd1" in text
    assert "<ours> & others" in [node.text for node in root.iter()]


def test_a_long_name_keeps_its_end() -> None:
    assert shortened("engines/int8", 1000, 14) == "engines/int8"
    short = shortened("engines/very/long/path/int8", 80, 14)
    assert short.startswith("…") and short.endswith("int8") and len(short) <= 80 / (0.56 * 14)


def test_figures_of_a_report_show_what_it_holds() -> None:
    report = everything()
    words, drawn = distribution_plot(report) or ("", None)
    assert words == "batch 1" and len(having(parsed(drawn), "curve")) == 4  # two in the legend
    ((words, drawn),) = throughput_plots(report)
    assert words == "1 stream"
    assert [heading for heading, _ in size_and_power_plots(report)] == [
        "Engine files",
        "Most memory of its process (RSS)",
        "Images for each joule, at the best throughput",
        "Mean power, at the best throughput",
    ]
    assert len(size_and_power_plots(two())) == 2  # no meter was there
    assert distribution_plot(two(benchmark=None)) is None and throughput_plots(two(benchmark=None)) == []


def test_layers_are_columns_with_their_names_and_shares() -> None:
    fp32, int8 = layer_figures(everything())
    columns = having(parsed(int8.picture), "layer")
    assert len(columns) == 40 + 2  # and the legend's two precisions
    told = [title.text or "" for node in columns for title in node.iter("title")]
    assert told[0] == "layer1.0.conv: fp32 (int8 asked), 0.100 ms"
    assert int8.summary.startswith("40 weighted layers: 1 fp32, 39 int8; ")
    assert int8.kinds[0][:3] == ("Convolution", "int8", "39")
    assert float(fp32.slowest[0][2].split()[0]) == pytest.approx(2.8)
    heights = [
        max(float(node.get("height", "")) for node in having(parsed(figure.picture), "layer"))
        for figure in (fp32, int8)
    ]
    assert heights[0] / heights[1] == pytest.approx(4, rel=0.02)  # one scale for all engines
