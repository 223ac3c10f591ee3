"""The ablation's rows, and the runs that go on where they were stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ablation import Row, _measured_before, _write, rows

HEAD: dict[str, Any] = {
    "model": "m",
    "graph": "a" * 64,
    "form": "split",
    "calibration_images": 8,
    "evaluated_images": 4,
    "fp32_top1": 75.0,
    "machine": {},
}
FOUND = {"top1": 75.0, "drop": 0.0, "drop_ci95": [0.0, 0.0], "agreement": 100.0, "logit_sqnr_db": 40.0, "kl": 1e-5}


def test_every_row_is_there_once_and_turns_the_default_by_no_more_than_width_and_one_switch() -> None:
    found = [row.switches for row in rows()]
    assert len({json.dumps(switches) for switches in found}) == len(found)
    plain = Row("cpu").switches
    changed = [{key for key in plain if switches[key] != plain[key]} - {"placement"} for switches in found]
    assert all(len(each) <= 1 or each == {"weight_bits", "round_weights"} for each in changed)
    assert set().union(*changed) == plain.keys() - {"placement"}  # each switch has a row


@pytest.mark.parametrize("key", ["graph", "calibration_images", "evaluated_images", "fp32_top1"])
def test_a_stopped_run_goes_on_and_no_other_run_does(tmp_path: Path, key: str) -> None:
    assert _measured_before(tmp_path, HEAD) == []
    entry = {**Row("cpu", rounded=False).switches, **FOUND, "seconds": 1.0}
    _write(tmp_path, HEAD, [entry])
    assert _measured_before(tmp_path, HEAD) == [entry]
    assert _measured_before(tmp_path, {**HEAD, key: 3}) == []
    text = (tmp_path / "ablation.md").read_text()
    assert "| cpu | mse | 8 | nearest weights | 40.0 | 100.00 | 1.0e-05 | 75.00 |" in text
