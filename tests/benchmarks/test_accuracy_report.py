"""The comparison of quantizers: what each graph is, who is nearer to FP32, and a quantizer that must be ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy import Quantized, compared, described
from benchmarks.accuracy_page import render, verdict
from benchmarks.finetune import recovered
from benchmarks.quantizer_process import Limits, result_path, run_apart
from benchmarks.quantizers import Candidate, candidates
from resnest_edge.calibration.ranges import AUTO, METHODS
from resnest_edge.graph.model import to_bytes
from resnest_edge.measure.accuracy import Accuracy
from resnest_edge.quantize.insertion import quantize_graph
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import QdqStyle
from tests.support.calibrated import calibrate
from tests.support.tiny import tiny_core

IMAGES = 400
GENERATOR = np.random.default_rng(0)
EXACT = GENERATOR.standard_normal((IMAGES, 10)).astype(np.float32)
ABOUT = {
    "model": "a model",
    "evaluated_images": IMAGES,
    "fp32_top1": 100.0,
    "run": "written",
    "validation_images": 7,
}


def answers(noise: float, seed: int) -> Accuracy:
    logits = EXACT + noise * np.random.default_rng(seed).standard_normal(EXACT.shape).astype(np.float32)
    return Accuracy(logits.astype(np.float32), EXACT.argmax(1), np.arange(IMAGES))


def found(name: str, noise: float, seed: int, *, ours: bool = False, style: str = "cpu") -> Quantized:
    row = {"quantizer": name, "images": 9, "style": style, "int8_layers": 3, "layers": 4, "cpu_seconds": 1.25}
    candidate = Candidate(name, lambda _: b"", ours=ours)
    return Quantized(candidate, {**row, "peak_rss_mib": 300}, answers(noise, seed))


def rows(*others: Quantized) -> list[dict[str, Any]]:
    ours = [found("ours", 0.1, 1, ours=True), found("ours, portable", 0.2, 2, ours=True, style="portable")]
    return compared([*ours, *others], answers(0.0, 0))


@pytest.mark.parametrize("style", list(QdqStyle))
def test_style_and_layers_are_read_from_the_graph(style: QdqStyle) -> None:
    core = tiny_core().core
    kept = frozenset({"layer1.0.conv3"})
    placement = Placement(style, keep_float=kept)
    graph = quantize_graph(core, calibrate(core, placement), placement)
    layers = sum(node.op_type in ("Conv", "Gemm") for node in core.graph)
    assert described(to_bytes(graph)) == {"style": style.value, "int8_layers": layers - 1}
    assert described(to_bytes(core))["int8_layers"] == 0


def test_each_is_held_to_ours_of_its_own_style() -> None:
    table = rows(found("theirs", 0.2, 3), found("theirs, portable", 0.1, 4, style="portable"))
    worse, better = table[2], table[3]
    assert 5 < worse["better_db_ci95"][0] < worse["better_db"] < worse["better_db_ci95"][1] < 7
    assert worse["more_kl_ci95"][0] > 0
    assert -7 < better["better_db"] < -5 and better["more_kl"] < 0
    assert table[0]["better_db"] is None and table[1]["better_db"] is None


def test_without_ours_nobody_is_held_to_another() -> None:
    (row, _) = compared([found("theirs", 0.2, 3), found("alike", 0.1, 5)], answers(0.0, 0))
    assert row["better_db"] is None and "Of the 0 graphs" in verdict([row])


def test_the_verdict_names_who_is_nearer() -> None:
    assert verdict(rows(found("theirs", 0.2, 3))).startswith("Of the 1 graphs of others, none is nearer")
    text = verdict(rows(found("theirs", 0.02, 3), found("alike", 0.1, 5)))
    assert text == "- theirs is nearer to FP32 than ours by logit SQNR.\n- theirs is nearer to FP32 than ours by KL.\n"


def test_our_other_methods_are_not_others() -> None:
    assert "Of the 0 graphs" in verdict(rows(found("ours, max", 0.01, 3, ours=True)))


def test_the_page_has_a_row_for_everybody_and_the_reason_of_who_failed() -> None:
    failed = Quantized(Candidate("gone", lambda _: b""), {"quantizer": "gone", "images": 5, "reason": "no such module"})
    text = render(ABOUT, rows(found("theirs", 0.2, 3), failed))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1, "each row has every column"
    assert "| gone | | | 5 | no such module |" in text
    assert "| theirs | cpu | 3 of 4 | 9 |" in text and "| 1.2 | 300 |" in text


def test_ours_come_first_and_with_every_method() -> None:
    names = [candidate.name for candidate in candidates()]
    assert names[:2] == ["resnest-edge, mse, cpu", "resnest-edge, mse, portable"]
    assert {f"resnest-edge, {method}, {style}" for method in (*METHODS, AUTO) for style in QdqStyle} <= set(names)
    assert len(set(names)) == len(names)


def test_a_quantizer_beyond_its_time_or_memory_is_ended_and_says_so(tmp_path: Path) -> None:
    assert run_apart(tmp_path, 0, Limits(seconds=0, memory_mib=1e6)) == {"reason": "ended after 0 s"}
    assert run_apart(tmp_path, 0, Limits(60, memory_mib=1))["reason"].endswith("MiB of memory")


def test_a_quantizer_that_fails_leaves_its_last_words(tmp_path: Path) -> None:
    reason = run_apart(tmp_path, 1, Limits(60, 1e6))["reason"]
    assert "ended with 1" in reason and "FileNotFoundError" in reason and "task.json" in reason
    assert result_path(tmp_path, 1).exists(), "it is not tried again when the run goes on"


@pytest.mark.parametrize(("before", "after", "words"), [(4, 1, "75 %"), (4, 5, "-25 %"), (0, 1, "–"), (-1, 0, "–")])
def test_what_is_recovered_is_a_share_of_what_was_lost(before: float, after: float, words: str) -> None:
    assert recovered(before, after) == words
