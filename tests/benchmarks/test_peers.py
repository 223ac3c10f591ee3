"""Others' engines behind our session, and the table that compares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.peer_engines import OURS, chosen
from benchmarks.peer_sessions import open_any, write_peer
from benchmarks.peer_table import render
from resnest_edge.backends.base import SessionOptions
from resnest_edge.images import normalise
from resnest_edge.models.checkpoint import untrained_network
from resnest_edge.models.variants import find_variant
from resnest_edge.spec import BatchRange, GraphInfo, InputFormat, Precision, Preprocessing

SIDE, CLASSES = 64, 10


def test_a_pytorch_peer_takes_frames_and_answers_as_the_network_does(tmp_path: Path) -> None:
    preprocessing = Preprocessing(SIDE, SIDE)
    info = GraphInfo(
        "resnest14d",
        Precision.FP32,
        Precision.FP32,
        None,
        8,
        InputFormat.UINT8_NHWC,
        BatchRange(1, 1, 64),
        SIDE,
        CLASSES,
    )
    more: dict[str, Any] = {"what": "resnest14d", "weights": "none", "num_classes": CLASSES}
    write_peer(tmp_path, "torch", "", info, **more, preprocessing=preprocessing.to_json())
    frames = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    network = untrained_network(find_variant("resnest14d").config, CLASSES).eval()
    with torch.inference_mode():
        expected = network(torch.from_numpy(normalise(frames, preprocessing))).numpy()
    with open_any(tmp_path, SessionOptions(batch=2)) as session:
        answer = session.run(frames)
    np.testing.assert_allclose(answer.logits, expected, atol=1e-4 * expected.std())
    np.testing.assert_allclose(answer.probabilities.sum(1), 1, rtol=1e-5)


def result(name: str, batch: int, streams: int, p50: float) -> dict[str, Any]:
    return {
        "bundle": name,
        "batch": batch,
        "streams": streams,
        "latency_ms": {"p50": p50},
        "images_per_second": 1000 * batch / p50,
        "peak_rss_mib": 100.0,
        "settings": {"runtime": "a runtime", "threads": 2},
    }


@pytest.fixture
def value() -> dict[str, Any]:
    speedup = {"median": 0.25, "q25": 0.2, "q75": 0.3}
    return {
        "model": "resnest50",
        "image_size": 224,
        "weights": "random",
        "macs_per_image": 5_000_000_000,
        "machine": {"cpu": "a CPU", "cores": 2, "cpu_isa": ["avx2"]},
        "failed": {"ModelOpt": "ModuleNotFoundError: no"},
        "results": [result("ours", 1, 1, 10.0), result("ours", 8, 1, 40.0), result("theirs", 1, 1, 40.0)],
        "ratios": [{"bundle": "theirs", "reference": "ours", "batch": 1, "streams": 1, "speedup": speedup}],
        "rounds": 7,
        "seconds": 0.7,
        "runs": [{"batch": 1, "streams": 1, "warnings": ["noisy"]}, {"batch": 8, "streams": 1, "warnings": []}],
    }


def test_the_table_has_each_engine_its_ratio_and_who_failed(value: dict[str, Any]) -> None:
    text = render(value)
    assert "| ours | 10.0 | – | 200.0 (8 × 1) | 1.00 | 1000 | 100 |" in text
    assert "| theirs | 40.0 | 0.25 (0.20 to 0.30) | 25.0 (1 × 1) | 0.12 | 125 | 100 |" in text
    assert "| ModelOpt | ModuleNotFoundError: no |" in text
    assert "| theirs | 25.0; 0.25 | – |" in text  # a cell that was not measured
    assert "- ours; theirs: runtime a runtime, threads 2" in text
    assert "- 1 × 1: noisy" in text


def test_ours_is_always_chosen_and_names_choose_the_rest() -> None:
    assert [name for name, _ in chosen(["eager"])] == [OURS, "PyTorch eager"]
    names = [name for name, _ in chosen([])]
    assert len(names) == len(set(names)) and names[0] == OURS
