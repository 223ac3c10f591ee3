from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from resnest_edge.errors import InputError
from resnest_edge.report import Report, load_report, load_sensitivity, render_html, render_markdown
from resnest_edge.report.reading import NEW_REPORT_KEYS, NEW_ROW_KEYS
from tests.report.samples import everything, many, sensitivity, two, unlabelled


@pytest.mark.parametrize("report", [two(), everything(), many(7), unlabelled(), two(evaluations=(), benchmark=None)])
def test_a_report_comes_back_from_its_json(tmp_path: Path, report: Report) -> None:
    path = tmp_path / "report.json"
    path.write_text(report.dumps(), encoding="utf-8")
    loaded = load_report(path)
    assert loaded.dumps() == report.dumps()
    assert loaded.rows == report.rows


def test_keys_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    value = two().to_json()
    value["added"] = 1
    value["rows"][0]["added"] = 2
    path = tmp_path / "report.json"
    path.write_text(json.dumps(value))
    assert load_report(path).rows == two().rows


def _without(value: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name != key}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "cannot be read"),
        ("[]", "cannot be read"),
        (json.dumps({**two().to_json(), "schema": 3}), "schema 3 of report.json, this version reads schema 1 and 2"),
        (json.dumps(_without(two().to_json(), "rows")), "KeyError: 'rows'"),
        (json.dumps({**two().to_json(), "rows": []}), "no rows"),
        (json.dumps({**two().to_json(), "rows": [_without(two().to_json()["rows"][0], "top1")]}), "KeyError: 'top1'"),
        (json.dumps({**two().to_json(), "title": 7}), "title is int, not str"),
        (json.dumps({**two().to_json(), "demo": 0}), "demo is int, not bool"),
        (json.dumps({**two().to_json(), "notes": "one"}), "notes is str, not a list"),
        (json.dumps({**two().to_json(), "rows": [[]]}), "rows[0] is list, not an object"),
        (json.dumps({**two().to_json(), "benchmark": [{}]}), "KeyError: 'bundle'"),
        (json.dumps({**two().to_json(), "conditions": {}}), "KeyError: 'rounds'"),
        (two().dumps().replace("87.44", "true", 1), "rows[0].top1 is bool, not float"),
        (two().dumps().replace("87.44", "NaN", 1), "NaN is not JSON"),
        (two().dumps().replace("87.44", "1e999", 1), "not finite"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_report(path)
    assert str(error.value).startswith(str(path))
    assert words in str(error.value)


def test_a_report_of_schema_1_still_reads_and_renders(tmp_path: Path) -> None:
    """As the version before wrote it: without the keys that schema 2 added."""
    value = two().to_json()
    old = {key: item for key, item in value.items() if key not in NEW_REPORT_KEYS} | {"schema": 1}
    old["rows"] = [{key: item for key, item in row.items() if key not in NEW_ROW_KEYS} for row in value["rows"]]
    measured = ("latency_distribution", "images_per_second_ci95", "rounds_images_per_second")
    old["benchmark"] = [
        {key: item for key, item in result.items() if key not in measured} for result in value["benchmark"]
    ]
    path = tmp_path / "report.json"
    path.write_text(json.dumps(old), encoding="utf-8")
    found = load_report(path)
    assert found.to_json()["schema"] == 2
    assert [row.top1 for row in found.rows] == [row.top1 for row in two().rows]
    assert (found.layers, found.sensitivity, found.published, found.rows[0].model) == ((), None, (), None)
    assert "is 2.50× faster" in render_html(found)
    assert "| Engine |" in render_markdown(found)


def test_reports_in_the_repository_read_and_render() -> None:
    paths = sorted((Path(__file__).parents[2] / "reports").glob("*/report.json"))
    assert paths
    for path in paths:
        assert "<h1>" in render_html(load_report(path))


@pytest.mark.parametrize("journal", [True, False])
def test_both_forms_of_a_sensitivity_file_read(tmp_path: Path, journal: bool) -> None:
    layers = [asdict(layer) for layer in reversed(sensitivity().layers)]
    identity = {"model": "resnest50", "target": "openvino", "graph": "a"}
    value = {"schema": 1, "identity": identity} if journal else {**identity, "count": 64}
    path = tmp_path / "layers.json"
    path.write_text(json.dumps({**value, "layers": layers}))
    found = load_sensitivity(path)
    assert found == replace(sensitivity(), images=None if journal else 64)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": "a", "target": "b", "layers": []}', '{"layers": [{}]}'])
def test_what_is_no_sensitivity_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "layers.json"
    path.write_text(text)
    with pytest.raises(InputError, match="no sensitivity file"):
        load_sensitivity(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        load_report(tmp_path / "absent.json")


def test_infinity_never_reaches_the_file() -> None:
    rows = (replace(two().rows[0], logit_sqnr_db=float("inf")),)
    with pytest.raises(InputError, match="JSON cannot"):
        replace(two(), rows=rows).dumps()
