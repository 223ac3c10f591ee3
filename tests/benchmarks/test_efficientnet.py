"""The EfficientNet-B4 beside which a ResNeSt is measured, and the ratios of the two."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.efficientnet import PAIRS, best, ratio, render
from benchmarks.efficientnet_network import IMAGE_SIZE, EfficientNetB4, count, random_network, scaled_width


def test_it_has_the_papers_size() -> None:
    found = count(EfficientNetB4(), IMAGE_SIZE)
    assert found.parameters == 19_341_616  # the paper: 19 M
    assert 4.2e9 <= found.macs <= 4.5e9  # the paper: 4.2 B, which leaves the squeezes out


def test_widths_are_the_papers_rounding() -> None:
    assert [scaled_width(channels) for channels in (32, 16, 24, 40, 80, 112, 192, 320, 1280)] == [
        *(48, 24, 32, 56, 112, 160, 272, 448, 1792),
    ]


def test_random_weights_are_the_same_ones_and_give_finite_answers() -> None:
    one, two = random_network(), random_network()
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        answer = one(pixels)
        assert torch.equal(answer, two(pixels))
    assert answer.shape == (1, 1000) and bool(torch.isfinite(answer).all()) and float(answer.std()) > 0


def result(name: str, speeds: list[float]) -> dict[str, Any]:
    return {
        "bundle": name,
        "batch": 1,
        "latency_ms": {"p50": 1000 / speeds[0]},
        "images_per_second": sum(speeds) / len(speeds),
        "rounds_images_per_second": speeds,
    }


INT8 = PAIRS["INT8 against INT8"]
RESULTS = [result(INT8[0], [20.0, 40.0, 30.0]), result(INT8[1], [10.0, 20.0, 10.0])]


def test_a_ratio_is_taken_within_a_round() -> None:
    assert ratio(RESULTS, 1, *INT8) == pytest.approx((2.0, 2.0, 2.5))
    assert ratio(RESULTS, 8, *INT8) is None
    assert best(RESULTS, 1, INT8) == INT8[0]
    assert best(RESULTS, 1, ["nobody"]) is None


def test_the_page_compares_like_with_like_and_best_with_best() -> None:
    value = {
        "machine": {"cpu": "a CPU", "cores": 2, "cpu_isa": ["avx2"], "versions": {"openvino": "2026.4.1"}},
        "rounds": 3,
        "seconds": 0.7,
        "networks": {"EfficientNet-B4": {"image_size": 380, "macs": 4.4e9}},
        "failed": {"EfficientNet-B4 BF16": "no BF16 here"},
        "runs": [{"batch": 1, "warnings": ["noisy"]}],
        "results": RESULTS,
    }
    text = render(value)
    assert f"| best against best: `{INT8[0]}` and `{INT8[1]}` | 2.00 (2.00 to 2.50) |" in text
    assert "| INT8 against INT8 | 2.00 (2.00 to 2.50) |" in text
    assert "BF16 against BF16 |" not in text
    assert "EfficientNet-B4 4.40 GMAC at 380 px" in text
    assert "- noisy" in text and "- EfficientNet-B4 BF16: no BF16 here" in text
