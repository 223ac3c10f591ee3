"""The GPU benchmark without a GPU: what it would build is what the command line takes, and its tables are right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from resnest_edge.backends.tensorrt import TensorRTBackend
from resnest_edge.spec import Form, Target
from tests.backends.fake_cuda import FakeRuntime


def test_what_is_built_is_what_the_command_line_takes() -> None:
    given = gpu.parse(["--name", "x", "--variant", "resnest50", "--weights", "w", "--images", "i"])
    shown = subprocess.run(
        [*gpu.EDGE, "build", "--help"], capture_output=True, text=True, check=True, env={"COLUMNS": "200", "PATH": ""}
    ).stdout
    commands = gpu.build_commands(given, Target.TENSORRT_RTX)
    assert len(commands) == 1 + len(Form)
    for command in commands:
        assert command[:2] == ["build", "resnest50"]
        assert all(word in shown for word in command if word.startswith("--"))
    assert commands[1][commands[1].index("--batch") + 1] == "1:8:32"
    assert "--compute-capability" not in gpu.build_commands(given, Target.TENSORRT)[1]
    built = {command[command.index("--out") + 1] for command in commands[1:]}
    assert built == {str(bundle.parent) for bundle in gpu.bundles(given)}


def test_one_batch_size_is_a_fixed_batch() -> None:
    command = gpu.build_commands(gpu.parse(["--name", "x", "--batch", "4"]), Target.TENSORRT)[1]
    assert command[command.index("--batch") + 1] == "4" and command[:2] == ["build", "--form"]


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeRuntime(driver=False))
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    assert gpu.main(["--name", "x"], run=lambda words: pytest.fail("nothing may run")) == 3
    assert "no usable NVIDIA driver" in capsys.readouterr().err


def test_a_median_is_of_what_was_counted() -> None:
    calls: list[str] = []
    taken = gpu.median_seconds(lambda: calls.append("work"), lambda: calls.append("wait"), 0.0)
    assert calls == ["work", "work", "wait", *(["work", "wait"] * 5)] and 0 < taken < 1


def test_peers_are_measured_and_costed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, where FP16 is slow but runs, and compiling would take half a minute."""
    monkeypatch.setattr(torch, "compile", lambda network: network)
    given = gpu.parse(["--name", "x", "--batch", "1", "--seconds", "0"])
    rows, macs = gpu.measure_peers(torch, given, device="cpu")
    assert [row["peer"] for row in rows] == ["torch FP16", "torch.compile FP16"]
    assert all(row["images_per_second"] == pytest.approx(1000 / row["p50_ms"]) for row in rows) and macs > 1_000_000


def test_it_builds_compares_measures_and_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeRuntime())
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    monkeypatch.setattr(TensorRTBackend, "version", lambda self: "10.3.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    card = {"fp16_tflops": 100.0, "memory_gb_per_s": 1000.0}
    monkeypatch.setattr(gpu, "measure_card", lambda *_: card)
    peer = {"peer": "torch FP16", "batch": 1, "p50_ms": 4.0, "images_per_second": 250.0}
    monkeypatch.setattr(gpu, "measure_peers", lambda *_: ([peer], 5_000_000_000))
    verbs: list[str] = []

    def run(words: Any) -> Any:
        verbs.append(words[0])
        if words[0] == "report":
            result = {
                "bundle": words[1],
                "precision": "fp32",
                "batch": 1,
                "images_per_second": 500.0,
                "latency_ms": {"p50": 2.0},
                "timings_ms": {"gpu_ms": 1.5},
            }
            folder = tmp_path / words[words.index("--out") + 1]
            folder.mkdir(parents=True)
            (folder / "report.json").write_text(json.dumps({"benchmark": {"results": [result]}}))
        return {"images": 9, "agreement": 99.5, "logit_sqnr_db": 41.25}

    assert gpu.main(["--name", "fake"], run) == 0
    assert verbs == ["build"] * 4 + ["evaluate"] * 9 + ["report"]
    value = json.loads((tmp_path / "reports/gpu-fake/gpu.json").read_text())
    assert value["engines"][0]["percent_of_fp16_rate"] == pytest.approx(5.0)  # 2 · 5e9 · 500 / 1e14
    text = (tmp_path / "reports/gpu-fake/gpu.md").read_text()
    assert "| engines/gpu/split/fp32 | 1 | 2.000 | 500.0 | 5.0 |" in text and "| torch FP16 | 1 | 4.000 |" in text
    assert "| engines/gpu/split/int8 | 9 | 99.50 | 41.2 |" in text
