from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resnest_edge.errors import InputError
from resnest_edge.report import Report, load_report
from tests.report.samples import many, two, unlabelled


@pytest.mark.parametrize("report", [two(), many(7), unlabelled(), two(evaluations=(), benchmark=None)])
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
        (json.dumps({**two().to_json(), "schema": 2}), "schema 2 of report.json, this version reads schema 1"),
        (json.dumps(_without(two().to_json(), "rows")), "KeyError: 'rows'"),
        (json.dumps({**two().to_json(), "rows": []}), "no rows"),
        (json.dumps({**two().to_json(), "rows": [_without(two().to_json()["rows"][0], "top1")]}), "KeyError: 'top1'"),
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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        load_report(tmp_path / "absent.json")


def test_infinity_never_reaches_the_file() -> None:
    rows = (replace(two().rows[0], logit_sqnr_db=float("inf")),)
    with pytest.raises(InputError, match="JSON cannot"):
        replace(two(), rows=rows).dumps()
