"""Power mode and clocks, from text that nvpmodel, jetson_clocks and nvidia-smi print."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from resnest_edge.measure.power_state import (
    GPU_QUERY,
    parse_jetson_clocks,
    parse_nvidia_smi,
    parse_nvpmodel,
    power_state,
    state_warnings,
)

ORIN_NANO = """\
SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano Developer Kit
Online CPUs: 0-5
cpu0:  Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1344000 CurrentFreq=960000 IdleStates: WFI=1 c7=1
cpu1:  Governor=schedutil MinFreq=729600 MaxFreq=1344000 CurrentFreq=1344000 IdleStates: WFI=1 c7=1
GPU MinFreq=306000000 MaxFreq=918000000 CurrentFreq=306000000
Active GPU TPCs: 4
EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=665600000
FAN Dynamic Speed Control=nvfancontrol hwmon0_pwm1=60
NV Power Mode: 25W
"""
LOCKED = """\
cpu0:  Online=1 Governor=schedutil MinFreq=1728000 MaxFreq=1728000 CurrentFreq=1728000 IdleStates: WFI=0 c7=0
GPU MinFreq=1020000000 MaxFreq=1020000000 CurrentFreq=1020000000
EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=3199000000 FreqOverride=1
"""


def test_clocks_that_may_fall_are_not_locked() -> None:
    clocks = parse_jetson_clocks(ORIN_NANO)
    assert clocks is not None
    assert clocks["gpu"] == {"min_mhz": 306.0, "max_mhz": 918.0, "current_mhz": 306.0}
    assert clocks["cpu"] == {"min_mhz": 729.6, "max_mhz": 1344.0, "current_mhz": 960.0}
    assert clocks["emc"]["max_mhz"] == 3199.0
    assert clocks["locked"] is False


def test_jetson_clocks_locks_gpu_and_cores() -> None:
    clocks = parse_jetson_clocks(LOCKED)
    assert clocks is not None and clocks["locked"] is True
    one_free = parse_jetson_clocks(LOCKED.replace("GPU MinFreq=1020000000", "GPU MinFreq=306000000"))
    assert one_free is not None and one_free["locked"] is False


@pytest.mark.parametrize("text", ["", "Error! unsupported SOC", "Please run as root"])
def test_no_clocks_are_none(text: str) -> None:
    assert parse_jetson_clocks(text) is None


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NV Power Mode: MAXN\n0\n", {"mode": "MAXN", "id": 0}),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_15W_6CORE\n2\n", {"mode": "MODE_15W_6CORE", "id": 2}),
        ("NVPM VERB: Current mode: NV Power Mode: 25W\n1\nNVPM VERB: PARAM\n", {"mode": "25W", "id": 1}),
        ("NV Power Mode: MAXN_SUPER", {"mode": "MAXN_SUPER", "id": None}),
        ("no mode", None),
    ],
)
def test_power_modes(text: str, mode: dict[str, object] | None) -> None:
    assert parse_nvpmodel(text) == mode


def test_nvidia_smi_values_and_what_it_does_not_tell() -> None:
    found = parse_nvidia_smi("NVIDIA H200, 570.86.15, 700.00, 345, 1980, 3201, 31\n")
    assert found is not None and found.keys() == GPU_QUERY.keys()
    assert found["gpu"] == "NVIDIA H200" and found["driver"] == "570.86.15"
    assert (found["power_limit_w"], found["max_sm_clock_mhz"]) == (700.0, 1980.0)
    orin = parse_nvidia_smi("Orin (nvgpu), 540.4.0, [N/A], [N/A], [N/A], [N/A], [N/A]")
    assert orin is not None and orin["power_limit_w"] is None
    assert parse_nvidia_smi("No devices were found") is None


def test_what_is_hard_to_repeat_is_warned_of() -> None:
    clocks, mode = parse_jetson_clocks(ORIN_NANO), parse_nvpmodel("NV Power Mode: 15W\n0\n")
    found = state_warnings({"jetson_clocks": clocks, "nvpmodel": mode})
    assert len(found) == 2 and "jetson_clocks" in found[0] and "15W" in found[1]
    best = {"jetson_clocks": parse_jetson_clocks(LOCKED), "nvpmodel": parse_nvpmodel("NV Power Mode: MAXN_SUPER\n2\n")}
    assert state_warnings(best) == []
    assert state_warnings({}) == state_warnings({"jetson_clocks": None, "nvpmodel": None}) == []


def test_the_state_asks_only_programs_that_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert power_state() == {}
    for name in ("nvpmodel", "jetson_clocks"):
        path = tmp_path / name
        path.write_text("#!/bin/sh\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(command: object) -> str:
        assert isinstance(command, list)
        if command[0] == "jetson_clocks":
            raise OSError("asks for root")
        return "NV Power Mode: MAXN\n0\n"

    assert power_state(run) == {"nvpmodel": {"mode": "MAXN", "id": 0}, "jetson_clocks": None}
