"""What a build tells its user of the rows it made."""

from __future__ import annotations

from typing import Any

import pytest

from resnest_edge.pipeline.rows import COLLAPSE_POINTS, warnings


def row(**keys: Any) -> dict[str, Any]:
    return {"bundle": "engines/int8", "target": "openvino", "precision": "int8", "precision_run": "int8", **keys}


@pytest.mark.parametrize("interval", [None, [-0.3, 0.4], [COLLAPSE_POINTS, 9.0]])
def test_a_drop_that_may_be_small_is_no_warning(interval: list[float] | None) -> None:
    assert warnings([row(drop_ci95=interval)], set()) == []


def test_a_drop_that_cannot_be_small_is_said_with_what_to_do() -> None:
    (text,) = warnings([row(drop_ci95=[84.66, 88.58])], set())
    assert text.startswith("engines/int8: INT8 costs at least 84.7 points of top-1")
    assert "--max-drop" in text and "sensitivity" in text


def test_a_precision_that_did_not_run_is_said() -> None:
    (text,) = warnings([row(precision="bf16", precision_run="fp32")], set())
    assert "BF16 was asked for" in text and "FP32 here" in text
