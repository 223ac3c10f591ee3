from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from resnest_edge.report.plots import AccuracyPlot, accuracy_plot, frontier_words, pareto
from resnest_edge.report.speed_plots import latency_plots
from resnest_edge.report.svg import Box, Scale, element, place_labels
from tests.report.samples import many, two, two_runtimes, unlabelled

values = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))


def parsed(picture: Markup | AccuracyPlot | None) -> ET.Element:
    assert picture is not None
    return ET.fromstring(str(picture.picture if isinstance(picture, AccuracyPlot) else picture))


def having(picture: ET.Element, class_: str) -> list[ET.Element]:
    return [node for node in picture.iter() if class_ in (node.get("class") or "").split()]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3)), min_size=1, max_size=8))
def test_pareto_keeps_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    found = pareto(points)
    assert found
    for x, y in points:
        beaten = any((a >= x and b < y) or (a > x and b <= y) for a, b in points)
        assert ((x, y) in [points[index] for index in found]) == (not beaten)
    assert len({points[index] for index in found}) == len(found)
    assert [points[index][0] for index in found] == sorted((points[index][0] for index in found), reverse=True)


@given(st.lists(values, min_size=1, max_size=10))
def test_a_scale_holds_its_values_between_round_ticks(numbers: list[float]) -> None:
    scale = Scale.around([0.0, *numbers], 10, 210)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 12
    assert ticks[0] == pytest.approx(scale.low)
    assert ticks[-1] == pytest.approx(scale.high)
    assert any(tick == 0 for tick in ticks)
    slack = 1e-6 * scale.step
    assert all(scale.low - slack <= number <= scale.high + slack for number in numbers)
    leading = scale.step / 10 ** math.floor(math.log10(scale.step) + 1e-9)
    assert min(abs(leading - digit) for digit in (1, 2, 5, 10)) < 1e-6
    assert scale(scale.low) == pytest.approx(10)
    assert scale(scale.high) == pytest.approx(210)
    printed = [f"{tick:.{scale.digits}f}" for tick in ticks]
    assert len(set(printed)) == len(printed)


def test_labels_do_not_cover_each_other_while_there_is_room() -> None:
    frame = Box(0, 0, 400, 300)
    anchors = [(200.0, 150.0), (205.0, 152.0), (198.0, 149.0), (395.0, 20.0)]
    placed = place_labels(anchors, ["first", "second", "third", "at the edge"], [], frame, 14)
    for index, one in enumerate(placed):
        assert one.box.beyond(frame) == 0
        assert all(one.box.overlap(other.box) == 0 for other in placed[:index])


def test_every_engine_is_a_point_with_its_interval_and_its_number() -> None:
    picture = parsed(accuracy_plot(many(6)))
    assert len(having(picture, "point")) == 6
    # six intervals of throughput, and five of accuracy: the reference has none against itself
    assert len(having(picture, "whisker")) == 3 * 6 + 3 * 5
    assert len(having(picture, "number")) == 6
    points = [(float(node.get("cx", "")), float(node.get("cy", ""))) for node in having(picture, "point")]
    # each engine is faster, further right, and loses more, further down
    assert points == sorted(points)
    assert [y for _, y in points] == sorted(y for _, y in points)


def test_names_that_do_not_fit_become_numbers_with_a_key() -> None:
    close = accuracy_plot(many(8))
    assert close is not None
    assert [node.text for node in having(parsed(close), "number")] == list("12345678")
    assert [name for name, _ in close.key] == ["FP32", *(f"engines/number-{index}" for index in range(1, 8))]
    apart = accuracy_plot(two())
    assert apart is not None
    assert [node.text for node in having(parsed(apart), "name")] == ["FP32", "INT8"]
    assert having(parsed(apart), "number") == []
    assert apart.key == ()


def test_a_number_that_another_point_covers_stands_below_it() -> None:
    drawn = accuracy_plot(two_runtimes(uncertainty=0.5))
    assert drawn is not None and drawn.key
    inside, below = having(parsed(drawn), "number"), having(parsed(drawn), "name")
    assert [node.text for node in inside] == ["2", "3", "4", "5"] and [node.text for node in below] == ["1"]
    third = next(node for node in inside if node.text == "3")
    assert abs(float(below[0].attrib["x"]) - float(third.attrib["x"])) < 10
    assert float(below[0].attrib["y"]) >= float(third.attrib["y"]) + 14


def test_intervals_are_drawn_to_scale() -> None:
    picture = parsed(accuracy_plot(two()))
    (ref, point) = having(picture, "point")
    bars = [{key: float(node.get(key, "")) for key in ("x1", "x2", "y1", "y2")} for node in having(picture, "whisker")]
    x, y, zero = (float(value or "") for value in (point.get("cx"), point.get("cy"), ref.get("cy")))
    (upright,) = (bar for bar in bars if bar["x1"] == bar["x2"] == x)
    top, bottom = sorted((upright["y1"], upright["y2"]))
    assert top < zero < y < bottom  # from 0.3 gained, above, to 0.5 lost, below
    # coordinates have two decimals
    assert (y - top, bottom - y) == pytest.approx((0.4 / 0.1 * (y - zero),) * 2, rel=0.01)
    (flat,) = (bar for bar in bars if bar["y1"] == bar["y2"] == y and bar["x1"] < x < bar["x2"])
    # 80 images a second lie between 77.6 and 81.6, and the axis begins at zero
    assert (x - flat["x1"]) / (flat["x2"] - x) == pytest.approx(2.4 / 1.6, rel=0.01)


def test_the_frontier_steps_down_to_the_left_of_each_engine() -> None:
    picture = parsed(accuracy_plot(two()))
    (path,) = having(picture, "frontier")
    fp32, int8 = having(picture, "point")
    numbers = [float(text) for text in path.get("d", "")[1:].replace("H", " ").replace("V", " ").split()]
    expected = [int8.get("cx"), int8.get("cy"), fp32.get("cx"), fp32.get("cy")]
    assert numbers == pytest.approx([float(value or "") for value in expected], abs=0.06)
    assert frontier_words(two()) == "No engine beats INT8 and FP32 in both."


def test_without_two_accuracies_there_is_no_picture() -> None:
    assert accuracy_plot(unlabelled()) is None
    assert frontier_words(unlabelled()) == ""
    assert accuracy_plot(two(benchmark=None)) is None


def test_bars_are_as_long_as_the_medians() -> None:
    plots = latency_plots(two())
    assert [words for words, _ in plots] == ["batch 1", "batch 8"]
    for (_, plot), (fp32, int8) in zip(plots, [(40.0, 16.0), (300.0, 100.0)], strict=True):
        widths = [float(node.get("width", "")) for node in having(parsed(plot), "bar")]
        assert widths[0] / widths[1] == pytest.approx(fp32 / int8, rel=1e-3)  # coordinates have two decimals
    assert latency_plots(two(benchmark=None)) == []


def test_text_and_attributes_are_escaped() -> None:
    assert element("text", "<b>&", x=1.0, class_='"') == '<text x="1" class="&#34;">&lt;b&gt;&amp;</text>'
