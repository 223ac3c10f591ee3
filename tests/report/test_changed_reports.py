"""Reports that something else wrote or changed: every page is rendered, or one error says what is wrong."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnest_edge.errors import InputError
from resnest_edge.report.reading import load_report
from resnest_edge.report.write import write_report
from tests.report.samples import everything

WHOLE: dict[str, Any] = json.loads(everything().dumps())
STRANGE: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    10**30,
    1e308,
    1e-320,
    "",
    "<script>",
    "\udcff",
    [],
    [None],
    {},
    {"a": 1},
)
GONE = object()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value stands in plain JSON: every key, and the first items of every list."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value[:3]):
            yield from places(item, (*path, index))


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    report = copy.deepcopy(WHOLE)
    holder: Any = report
    for key in path[:-1]:
        holder = holder[key]
    if value is GONE:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return report


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(list(places(WHOLE))), value=st.sampled_from((*STRANGE, GONE)))
def test_a_changed_report_is_refused_or_rendered(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    try:
        report = load_report(write(tmp_path / "report.json", changed(path, value)))
    except InputError:
        return
    for page in write_report(report, tmp_path / "pages", force=True):
        page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("rows", 0, "latency_ms", "p99"), GONE),
        (("rows", 1, "speedup", "q25"), GONE),
        (("rows", 0, "size_mib"), 10**30),
        (("benchmark", 0, "images_per_second_ci95"), [1.0]),
        (("benchmark", 0, "latency_ms", "p50"), "fast"),
        (("benchmark", 0, "latency_distribution"), {"percents": [0.0, 50.0], "milliseconds": [1.0]}),
        (("benchmark", 0, "latency_distribution"), {"percents": [], "milliseconds": []}),
        (("ratios", 0, "speedup"), 2.0),
    ],
    ids=str,
)
def test_what_no_page_can_show_is_refused(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_report(write(tmp_path / "report.json", changed(path, value)))


def test_files_that_would_never_end_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with (tmp_path / "huge.json").open("wb") as stream:
        stream.truncate(8 << 30)
    for name, words in (("pipe.json", "not a regular file"), ("huge.json", "longer than"), (".", "regular file")):
        with pytest.raises(InputError, match=words):
            load_report(tmp_path / name)


def test_a_name_that_is_no_unicode_stands_on_every_page(tmp_path: Path) -> None:
    named = load_report(write(tmp_path / "report.json", changed(("title",), "cam\udcff")))
    pages = {
        path.name: path.read_text(encoding="utf-8") for path in write_report(named, tmp_path / "pages", force=True)
    }
    assert "cam\\udcff" in pages["index.html"] and "cam\\udcff" in pages["report.md"]
    assert json.loads(pages["report.json"])["title"] == "cam\udcff"
