"""The GPU benchmark without a GPU: what it would build is what the command line takes, and its tables are right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_limits
from resnest_edge.backends.tensorrt import TensorRTBackend
from resnest_edge.spec import Target
from tests.backends.fake_cuda import FakeRuntime


def options_of(verb: str) -> str:
    return subprocess.run(
        [*gpu.EDGE, verb, "--help"], capture_output=True, text=True, check=True, env={"COLUMNS": "200", "PATH": ""}
    ).stdout


def test_what_is_exported_is_what_the_command_line_takes() -> None:
    given = gpu.parse(["--name", "x", "--variant", "resnest50", "--weights", "w", "--images", "i"])
    shown, commands = options_of("export"), gpu.export_commands(given, Path("e"))
    assert len(commands) == 1 + len(gpu.FORMS)
    for command in commands:
        assert command[:2] == ["export", "resnest50"]
        assert all(word in shown for word in command if word.startswith("--"))
    assert commands[1][commands[1].index("--batch") + 1] == "1:8:32"


def test_every_engine_is_built_from_what_was_exported() -> None:
    given = gpu.parse(["--name", "x"])
    exported = {command[command.index("--out") + 1] for command in gpu.export_commands(given, Path("e"))}
    for target in (Target.TENSORRT, Target.TENSORRT_RTX):
        shown, (reference, *engines) = options_of("build"), gpu.build_commands(given, target, Path("e"))
        assert reference[1] in exported and "onnxruntime" in reference
        assert {str(Path(command[1]).parent) for command in engines} | {reference[1]} == exported
        assert [command[command.index("--out") + 1] for command in engines] == list(map(str, gpu.bundles(given)))
        assert all(word in shown for command in engines for word in command if word.startswith("--"))
        assert all(("--compute-capability" in command) is (target is Target.TENSORRT_RTX) for command in engines)


def test_one_batch_size_is_a_fixed_batch() -> None:
    command = gpu.export_commands(gpu.parse(["--name", "x", "--batch", "4"]), Path("e"))[1]
    assert command[command.index("--batch") + 1] == "4" and command[:2] == ["export", "--form"]


def test_exporting_needs_no_gpu_and_stops_there(tmp_path: Path) -> None:
    verbs: list[str] = []
    assert gpu.main(["--export-only", str(tmp_path / "e")], run=lambda words: verbs.append(words[0])) == 0
    assert verbs == ["export"] * 4


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeRuntime(driver=False))
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    assert gpu.main(["--name", "x"], run=lambda words: pytest.fail("nothing may run")) == 3
    assert "no usable NVIDIA driver" in capsys.readouterr().err


def test_a_median_is_of_what_was_counted() -> None:
    calls: list[str] = []
    taken = gpu_limits.median_seconds(lambda: calls.append("work"), lambda: calls.append("wait"), 0.0)
    assert calls == ["work", "work", "work", "wait", *(["work", "wait"] * 5)] and 0 < taken < 1


def test_peers_are_measured_and_costed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, where FP16 is slow but runs, and compiling would take half a minute."""
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    rows, cost = gpu_limits.measure_peers(torch, None, None, [1], 0.0, device="cpu")
    assert [row["peer"] for row in rows] == ["torch FP16", "torch.compile FP16"]
    assert all(row["images_per_second"] == pytest.approx(1000 / row["p50_ms"]) for row in rows)
    assert cost["macs"] > 1_000_000 and cost["image_size"] == 96


def test_it_builds_compares_measures_and_writes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeRuntime())
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    monkeypatch.setattr(TensorRTBackend, "version", lambda self: "10.3.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    card = {"fp32_tflops": 50.0, "memory_gb_per_s": 1000.0, "host_to_device_gb_per_s": 25.0}
    monkeypatch.setattr(gpu, "measure_card", lambda *_: card)
    peer = {"peer": "torch FP16", "batch": 1, "p50_ms": 4.0, "images_per_second": 250.0}
    monkeypatch.setattr(gpu, "measure_peers", lambda *_: ([peer], {"macs": 5_000_000_000, "image_size": 100}))
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
                "timings_ms": {"gpu_ms": 0.5, "h2d_ms": 0.01},
            }
            folder = tmp_path / words[words.index("--out") + 1]
            folder.mkdir(parents=True)
            (folder / "report.json").write_text(json.dumps({"benchmark": {"results": [result]}}))
        return {"images": 9, "agreement": 99.5, "logit_sqnr_db": 41.25}

    assert gpu.main(["--name", "fake"], run) == 0
    assert verbs == ["export"] * 4 + ["build"] * 10 + ["evaluate"] * 9 + ["report"]
    value = json.loads((tmp_path / "reports/gpu-fake/gpu.json").read_text())
    assert value["engines"][0]["percent_of_matrix_rate"] == pytest.approx(40.0)  # 2 · 5e9 / 5e-4 s / 5e13
    assert value["engines"][0]["percent_of_host_to_device"] == pytest.approx(12.0)  # 3e4 bytes / 1e-5 s / 2.5e10
    text = (tmp_path / "reports/gpu-fake/gpu.md").read_text()
    assert "| engines/gpu/split/fp32 | 1 | 2.000 | 0.500 | 500.0 | 40.0 | 12.0 |" in text
    assert "| torch FP16 | 1 | 4.000 | – | 250.0 | – | – |" in text
    assert "| engines/gpu/split/int8 | 9 | 99.50 | 41.2 |" in text
    verbs.clear()
    assert gpu.main(["--name", "again", "--exported", "elsewhere"], run) == 0
    assert "export" not in verbs and verbs[:10] == ["build"] * 10


def test_a_precision_without_a_rate_has_no_share() -> None:
    result = {"bundle": "b", "precision": "int8", "batch": 1, "images_per_second": 1.0, "latency_ms": {"p50": 1.0}}
    report = {"benchmark": {"results": [{**result, "timings_ms": {"gpu_ms": 1.0}}]}}
    card = {"fp16_tflops": 1.0, "host_to_device_gb_per_s": 1.0}
    (row,) = gpu.summary(report, {"macs": 1, "image_size": 8}, card)
    assert row["percent_of_matrix_rate"] is None and row["percent_of_host_to_device"] is None
