"""Two reports compared: what counts as worse, what cannot be compared, and that nothing passes unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.errors import OutputError, UsageError
from resnest_edge.report import Report
from resnest_edge.report.comparison import FAILED, PASSED, UNKNOWN, Comparison, compare_reports
from resnest_edge.report.comparison_pages import (
    comparison_table,
    not_comparable,
    render_comparison_html,
    render_comparison_markdown,
    sentences,
    verdict,
    write_comparison,
)
from resnest_edge.report.gates import parse_gates
from resnest_edge.report.metrics import METRICS
from tests.report.samples import everything


def changed(
    row: dict[str, Any] | None = None, speed: dict[str, float] | None = None, old: Report | None = None, **parts: Any
) -> Report:
    """The full sample with its INT8 row changed, and its INT8 latency and throughput multiplied."""
    report = old or everything()
    rows = (report.rows[0], replace(report.rows[1], **(row or {})))
    factors = {"latency": 1.0, "throughput": 1.0, **(speed or {})}
    results = tuple(
        result
        if result["bundle"] == "engines/fp32"
        else {
            **result,
            "latency_ms": {name: value * factors["latency"] for name, value in result["latency_ms"].items()},
            "images_per_second": result["images_per_second"] * factors["throughput"],
        }
        for result in report.benchmark
    )
    return replace(report, **{"rows": rows, "benchmark": results, **parts})


def compared(new: Report, gates: str | None = None, old: Report | None = None) -> Comparison:
    return compare_reports(old or everything(), new, parse_gates(gates) if gates else ())


def outcomes(found: Comparison) -> list[str]:
    return [check.outcome for check in found.checks if check.engine != "FP32"]


def test_a_report_against_itself_passes_every_line() -> None:
    found = compared(everything(), ",".join(f"{name}>0" for name in METRICS))
    assert {check.outcome for check in found.checks} == {PASSED}
    assert {check.gate.partition(">")[0] for check in found.checks} == set(METRICS)
    assert found.crossed == ()
    assert found.differences == ()
    assert {change.worse for change in found.changes} == {0.0}
    assert comparison_table(replace(found, checks=())).rows == ()


@pytest.mark.parametrize(
    ("gate", "new", "outcome"),
    [
        ("drop>0.3", changed({"top1": 87.34 - 0.29}), PASSED),
        ("drop>0.3", changed({"top1": 87.34 - 0.31}), FAILED),
        ("drop>0.3", changed({"top1": 87.34 + 5}), PASSED),  # a gain is no loss
        ("agreement>1", changed({"agreement": 98.0}), FAILED),
        ("sqnr>3", changed({"logit_sqnr_db": 28.0}), PASSED),
        ("size>1", changed({"size_mib": 28.0}), FAILED),
        ("size>10%", changed({"size_mib": 28.0}), PASSED),
        ("size>0", changed({"size_mib": 20.0}), PASSED),
    ],
)
def test_lines_of_an_engine(gate: str, new: Report, outcome: str) -> None:
    assert outcomes(compared(new, gate)) == [outcome]


@pytest.mark.parametrize(
    ("gate", "speed", "outcome"),
    [
        ("latency>5%", {"latency": 1.049}, PASSED),
        ("latency>5%", {"latency": 1.051}, FAILED),
        ("latency>5%", {"latency": 0.5}, PASSED),
        ("latency>0.5", {"latency": 1.01}, None),  # 0.16 ms at batch 1, 1 ms at batch 8
        ("latency-p99>5%", {"latency": 1.051}, FAILED),
        ("throughput>5%", {"throughput": 0.96}, PASSED),
        ("throughput>5%", {"throughput": 0.94}, FAILED),
        ("throughput>5%", {"throughput": 2.0}, PASSED),
    ],
)
def test_lines_of_every_batch_size(gate: str, speed: dict[str, float], outcome: str | None) -> None:
    found = outcomes(compared(changed(speed=speed), gate))
    assert found == ([PASSED, FAILED] if outcome is None else [outcome, outcome])


@given(
    old=st.floats(0.01, 1e5),
    factor=st.floats(0.1, 10),
    limit=st.floats(0, 500).map(lambda value: round(value, 3)),
)
def test_a_percentage_is_of_the_old_value(old: float, factor: float, limit: float) -> None:
    (slower,) = parse_gates(f"latency>{limit}%")
    (fewer,) = parse_gates(f"throughput>{limit}%")
    change = 100 * (factor - 1)
    if abs(abs(change) - limit) > 1e-6 * max(1.0, abs(change)):
        assert slower.crossed(old, old * factor) == (change > limit)
        assert fewer.crossed(old, old * factor) == (-change > limit)


OTHER_MODEL: dict[str, Any] = {"model": "resnest101"}


@pytest.mark.parametrize(
    ("gate", "make", "reason"),
    [
        ("drop>9", lambda: changed(OTHER_MODEL), "different models: resnest50 and resnest101"),
        ("latency>9%", lambda: changed(OTHER_MODEL), "different models: resnest50 and resnest101"),
        ("size>9%", lambda: changed({"image_size": 160}), "different image sizes: 224 and 160 pixels"),
        ("size>9%", lambda: changed({"model": None}), "the new report does not say which model it measured"),
        ("drop>9", lambda: changed({"top1": None, "images": None, "reason": "no GPU"}), "accuracy is not in the new"),
        ("drop>9", lambda: changed({"images": 1999}), "different pictures: 2,000 and 1,999"),
        ("drop>9", lambda: changed(images_digest="cd" * 32), "different pictures (names or labels differ)"),
        ("drop>9", lambda: changed(images_digest=None), "does not say which pictures"),
        ("latency>9%", lambda: changed(environment={"cpu": "Another"}), "different machines: cpu"),
        ("latency>9%", lambda: changed(environment={}), "different machines: cpu Some CPU @ 2 GHz and unknown"),
        ("latency>9%", lambda: changed(conditions={**everything().conditions, "threads": 1}), "threads unknown and 1"),
        ("latency>9%", lambda: changed(benchmark=()), "median latency at batch 1 is not in the new report"),
        ("power>9", lambda: changed(benchmark=()), "power at batch 1 is not in the new report"),
    ],
)
def test_what_cannot_be_compared_never_passes(gate: str, make: Callable[[], Report], reason: str) -> None:
    found = compared(make(), gate)
    assert UNKNOWN in outcomes(found)
    assert FAILED not in outcomes(found)
    assert any(reason in check.words for check in found.crossed)
    assert any(reason in text for text in not_comparable(found))
    assert "could not be made" in verdict(found)


def test_accuracy_may_come_from_another_machine() -> None:
    found = compared(changed(environment={"cpu": "Another"}), "drop>0.3")
    assert outcomes(found) == [PASSED]
    assert ("cpu", "Some CPU @ 2 GHz", "Another") in found.differences


def test_a_metric_in_neither_report_does_not_pass() -> None:
    bare = everything(benchmark=None)
    found = compared(bare, "latency>5%", old=bare)
    assert [check.outcome for check in found.crossed] == [UNKNOWN]
    assert "latency is in neither report" in sentences(found)[0]


def test_an_engine_that_is_gone_does_not_pass_and_a_new_one_is_noted() -> None:
    report = everything()
    gone = replace(
        report,
        rows=report.rows[:1],
        benchmark=tuple(result for result in report.benchmark if result["bundle"] == "engines/fp32"),
    )
    found = compared(gone, "drop>0.3")
    assert outcomes(found) == [UNKNOWN]
    assert found.notes == ("engines/int8 is only in the old report",)
    found = compared(report, "drop>0.3", old=gone)
    assert found.crossed == ()
    assert found.notes == ("engines/int8 is only in the new report",)


def test_a_renamed_bundle_is_found_by_what_it_is() -> None:
    report = everything()
    renamed = replace(
        report,
        rows=(report.rows[0], replace(report.rows[1], bundle="new/int8", top1=80.0)),
        benchmark=tuple({**r, "bundle": r["bundle"].replace("engines/int8", "new/int8")} for r in report.benchmark),
    )
    found = compared(renamed, "drop>0.3")
    assert outcomes(found) == [FAILED]
    assert found.notes == ("engines/int8 of the old report was compared with new/int8 of the new one",)


def test_a_batch_size_that_is_gone_does_not_pass_and_a_new_one_is_noted() -> None:
    report = everything()
    single = replace(report, benchmark=tuple(result for result in report.benchmark if result["batch"] == 1))
    assert outcomes(compared(single, "latency>5%")) == [PASSED, UNKNOWN]
    found = compared(report, "latency>5%", old=single)
    assert outcomes(found) == [PASSED]
    assert "engines/int8 at batch 8 is only in the new report" in found.notes


def test_another_gpu_is_another_machine() -> None:
    report = everything()
    on = [
        replace(report, benchmark=tuple({**result, "settings": {"gpu": gpu}} for result in report.benchmark))
        for gpu in ("One", "Two")
    ]
    found = compared(on[1], "latency>5%", old=on[0])
    assert set(outcomes(found)) == {UNKNOWN}
    assert "different GPUs: One and Two" in sentences(found)[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not METRIC>LIMIT"),
        ("drop", "is not METRIC>LIMIT"),
        ("drop<1", "is not METRIC>LIMIT"),
        ("drop>-1", "is not METRIC>LIMIT"),
        ("drop>1,", "is not METRIC>LIMIT"),
        ("drop>1%", "percentage points, not in percent. Write drop>1"),
        ("sqnr>1%", "held in dB"),
        ("latncy>5%", "Did you mean latency"),
        ("colour>1", "knows no metric 'colour'"),
        ("drop>1,drop>2", "names drop twice"),
        ("latency>" + "9" * 400, "no finite limit"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_gates(text)
    assert words in str(error.value)


def test_pages_say_what_failed(tmp_path: Path) -> None:
    found = compared(changed({"top1": 80.0}, {"latency": 1.2}), "drop>0.3,latency>5%")
    text = render_comparison_markdown(found)
    assert "**Of 6 checks, 3 failed.**" in text
    assert "| INT8 | Top-1 | 87\\.34 % | 80\\.00 % | 7\\.34 points worse | FAILED" in text.replace("\u00a0", " ")
    assert "drop\\>0.3: INT8: " in text
    page = render_comparison_html(found)
    assert "<h1>Of 6 checks, 3 failed.</h1>" in page and "https" not in page and "<script" not in page
    paths = write_comparison(found, tmp_path)
    assert json.loads(paths[0].read_text(encoding="utf-8")) == json.loads(json.dumps(found.to_json()))
    with pytest.raises(OutputError, match="--force"):
        write_comparison(found, tmp_path)


def test_hostile_titles_stay_text() -> None:
    evil = "<script>alert(1)</script>|`"
    found = compared(changed({"model": evil}, title=evil), "drop>1")
    assert "<script>" not in render_comparison_html(found)
    assert "<script>" not in render_comparison_markdown(found)
