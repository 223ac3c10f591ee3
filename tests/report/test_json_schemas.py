"""The published JSON Schemas: kept true to the dataclasses, and what is written keeps to them."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from resnest_edge.report import Report
from resnest_edge.report.comparison import compare_reports
from resnest_edge.report.gates import parse_gates
from scripts.report_schema import FOLDER, attributes, schemas
from tests.report.samples import everything, many, two, unlabelled

ROOT = FOLDER.parent.parent


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / name).read_text(encoding="utf-8")))


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("name", schemas())
def test_the_published_schema_is_the_dataclasses(name: str) -> None:
    stale = "refresh it: python scripts/report_schema.py"
    assert json.loads((FOLDER / name).read_text(encoding="utf-8")) == schemas()[name], stale


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.name)
def test_each_is_a_schema_and_describes_every_key(path: Path) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(value)
    for name, definition in {"top": value, **value["$defs"]}.items():
        bare = [key for key, item in definition["properties"].items() if "description" not in item]
        assert bare == [], name


@pytest.mark.parametrize("report", [two(), everything(), many(7), unlabelled(), two(evaluations=(), benchmark=None)])
def test_reports_keep_to_it(report: Report) -> None:
    validator("report-2.json").validate(plain(report.to_json()))


def test_reports_in_the_repository_keep_to_the_schema_they_name() -> None:
    paths = sorted((ROOT / "reports").glob("*/report.json"))
    assert paths
    for path in paths:
        value = json.loads(path.read_text(encoding="utf-8"))
        validator(f"report-{value['schema']}.json").validate(value)


def test_comparisons_keep_to_it() -> None:
    gates = parse_gates("drop>0.1,latency>1%")
    for new in (everything(), everything(benchmark=None), two()):
        validator("comparison-1.json").validate(plain(compare_reports(everything(), new, gates).to_json()))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 1),
        (("title",), None),
        (("rows", 0, "top1"), "87"),
        (("rows", 0, "top1_ci95"), [1.0]),
        (("rows", 1, "latency_ms", "p50"), "fast"),
        (("benchmark", 0, "batch"), 1.5),
        (("layers", 0, "layers", 0, "milliseconds"), "1"),
        (("sensitivity", "layers", 0, "harm"), None),
        (("published", 0, "gmacs"), None),
    ],
)
def test_a_wrong_value_is_found(path: tuple[str | int, ...], value: Any) -> None:
    wrong = deepcopy(plain(everything().to_json()))
    place = wrong
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        validator("report-2.json").validate(wrong)


@pytest.mark.parametrize("key", ["rows", "layers", "images_digest"])
def test_a_missing_key_is_found(key: str) -> None:
    wrong = plain(everything().to_json())
    del wrong[key]
    with pytest.raises(ValidationError):
        validator("report-2.json").validate(wrong)


def test_descriptions_come_from_docstrings() -> None:
    class Documented:
        """One line.

        Attributes:
            first: of one line.
            second: of
                two lines.
        """

    assert attributes(Documented) == {"first": "of one line.", "second": "of two lines."}
