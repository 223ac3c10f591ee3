"""Where power is told: a made-up tree of files, text that the tools print, and a stand-in for NVML."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from resnest_edge.errors import UnavailableError
from resnest_edge.measure.power import Meter
from resnest_edge.measure.power_sources import (
    find_meter,
    ina3221,
    module_rails,
    nvidia_smi,
    nvml,
    parse_power_draw,
    parse_tegrastats,
    rapl,
    tegrastats,
)

ORIN = (
    "11-14-2024 12:34:56 RAM 3162/30536MB (lfb 6x4MB) SWAP 0/15268MB (cached 0MB) CPU [1%@729,0%@729,off,off] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@[305,305] cpu@47.968C soc0@46.906C gpu@46.343C tj@47.968C "
    "VDD_GPU_SOC 3175mW/3100mW VDD_CPU_CV 396mW/400mW VIN_SYS_5V0 3024mW/3020mW VDDQ_VDD2_1V8AO 503mW/500mW"
)
NANO = "RAM 2043/7620MB (lfb 2x4MB) CPU [2%@729] GR3D_FREQ 0% VDD_IN 4721mW/4700mW VDD_CPU_GPU_CV 600mW/590mW"
XAVIER = "RAM 1/2MB GPU 124/125 CPU 310/311 VDD_IN 2532/2500"


def hwmon(root: Path, number: int, name: str, channels: dict[int, tuple[str, int, int]]) -> Path:
    """A chip under /sys/class/hwmon: label, millivolts and milliamperes of each channel."""
    chip = root / "sys/class/hwmon" / f"hwmon{number}"
    chip.mkdir(parents=True)
    (chip / "name").write_text(f"{name}\n")
    for channel, (label, millivolts, milliamperes) in channels.items():
        (chip / f"in{channel}_label").write_text(f"{label}\n")
        (chip / f"in{channel}_input").write_text(f"{millivolts}\n")
        (chip / f"curr{channel}_input").write_text(f"{milliamperes}\n")
    return chip


def zone(root: Path, path: str, name: str, microjoules: int, limit: int = 10_000_000) -> Path:
    folder = root / "sys/class/powercap" / path
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    energy = folder / "energy_uj"
    energy.write_text(f"{microjoules}\n")
    return energy


# ── sources ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_agx_orin_is_the_sum_of_its_three_rails(tmp_path: Path) -> None:
    hwmon(tmp_path, 0, "tmp451", {1: ("VDD_IN", 9, 9)})  # another chip with such a label
    rails = {1: ("VDD_GPU_SOC", 19000, 500), 2: ("VDD_CPU_CV", 19000, 100), 3: ("VIN_SYS_5V0", 5000, 600)}
    first = hwmon(tmp_path, 3, "ina3221", rails)
    (first / "in7_label").write_text("sum of shunt voltages\n")
    hwmon(tmp_path, 4, "ina3221", {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 5000, 200), 3: ("NC", 0, 0)})
    meter = ina3221(tmp_path)
    assert meter.source == "INA3221 VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    assert meter.joules(0.0) == 0.0
    assert meter.joules(2.0) == pytest.approx(2 * (9.5 + 1.9 + 3.0))


def test_an_orin_nano_is_its_input_alone(tmp_path: Path) -> None:
    rails = {1: ("VDD_IN", 5000, 1000), 2: ("VDD_CPU_GPU_CV", 5000, 400), 3: ("VDD_SOC", 5000, 200)}
    hwmon(tmp_path, 1, "ina3221", rails)
    meter = ina3221(tmp_path)
    meter.joules(0.0)
    assert meter.source == "INA3221 VDD_IN" and meter.joules(1.0) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("labels", "rails"),
    [
        (("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0", "VIN"), ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")),
        (("VIN",), ("VIN",)),
    ],
)
def test_which_rails_add_up(labels: tuple[str, ...], rails: tuple[str, ...]) -> None:
    assert module_rails(labels) == rails


def test_rails_whose_sum_is_unknown_are_not_guessed() -> None:
    with pytest.raises(UnavailableError, match="VDD_NEW"):
        module_rails(["VDD_NEW", "VDD_GPU_SOC"])


def test_a_rail_that_goes_away_is_said(tmp_path: Path) -> None:
    chip = hwmon(tmp_path, 1, "ina3221", {1: ("VDD_IN", 5000, 1000)})
    meter = ina3221(tmp_path)
    (chip / "curr1_input").unlink()
    with pytest.raises(UnavailableError, match="no longer answers"):
        meter.joules(1.0)


def test_rapl_counts_packages_and_memory_once(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)  # part of the package
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 1_000_000)
    zone(tmp_path, "intel-rapl:1", "psys", 1)  # the whole platform, packages included
    meter = rapl(tmp_path)
    assert meter.source == "RAPL package-0 + dram"
    package.write_text("500000\n")  # wrapped at 10 J
    memory.write_text("1250000\n")
    assert meter.joules(0.0) == pytest.approx(1.5 + 0.25)


def test_rapl_that_cannot_be_read_names_the_command(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1).unlink()
    with pytest.raises(UnavailableError, match="sudo chmod"):
        rapl(tmp_path)


def test_tegrastats_lines() -> None:
    assert parse_tegrastats(ORIN) == {
        "VDD_GPU_SOC": (3175, 3100),
        "VDD_CPU_CV": (396, 400),
        "VIN_SYS_5V0": (3024, 3020),
        "VDDQ_VDD2_1V8AO": (503, 500),
    }
    assert parse_tegrastats(NANO) == {"VDD_IN": (4721, 4700), "VDD_CPU_GPU_CV": (600, 590)}
    assert parse_tegrastats(XAVIER)["VDD_IN"] == (2532, 2500)  # without units, as older ones print it
    assert parse_tegrastats("") == {}


def program(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name on the path, which prints ``text``."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_tegrastats_is_read_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "tegrastats", f"while true; do echo '{NANO}'; sleep 0.01; done", monkeypatch)
    meter = tegrastats()
    meter.joules(0.0)
    assert meter.source == "tegrastats VDD_IN" and meter.joules(2.0) == pytest.approx(2 * 4.721)
    meter.close()
    with pytest.raises(UnavailableError, match="no longer answers"):
        meter.joules(3.0)


def test_tegrastats_without_rails_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "tegrastats", "echo 'RAM 1/2MB CPU [1%@729]'", monkeypatch)
    with pytest.raises(UnavailableError, match="power rails are none"):
        tegrastats()


def test_nvidia_smi_tells_watts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "nvidia-smi", "echo 61.53", monkeypatch)
    meter = nvidia_smi()
    meter.joules(10.0)
    assert meter.joules(12.0) == pytest.approx(2 * 61.53)


@pytest.mark.parametrize("text", ["echo '[N/A]'", "exit 9", "true"])
def test_nvidia_smi_that_does_not_tell_is_no_source(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "nvidia-smi", text, monkeypatch)
    with pytest.raises(UnavailableError, match="nvidia-smi"):
        nvidia_smi()


def test_of_several_lines_the_first_counts() -> None:
    assert parse_power_draw("61.53\n70.1\n") == 61.53
    with pytest.raises(ValueError, match="float"):
        parse_power_draw("")


class NVMLError(Exception):
    """What NVML's functions raise."""


def fake_nvml(monkeypatch: pytest.MonkeyPatch, energy: Iterator[int] | None, power: int = 300_000) -> None:
    def spent(handle: str) -> int:
        assert handle == "GPU 0"
        if energy is None:
            raise NVMLError("Not Supported")
        return next(energy)

    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: f"GPU {index}",
        nvmlDeviceGetTotalEnergyConsumption=spent,
        nvmlDeviceGetPowerUsage=lambda handle: power,
    )
    monkeypatch.setitem(__import__("sys").modules, "pynvml", library)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_nvml_counts_millijoules(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvml(monkeypatch, iter([1_000_000, 1_002_500]))
    assert nvml().joules(0.0) == 2.5


def test_nvml_of_an_older_gpu_gives_milliwatts(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_nvml(monkeypatch, None)
    meter = nvml()
    meter.joules(0.0)
    assert meter.joules(1.0) == 300.0


def test_nothing_here_gives_every_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    meter, reason = find_meter(True, tmp_path)
    assert meter is None
    assert all(word in reason for word in ("INA3221", "tegrastats", "nvidia-ml-py", "nvidia-smi"))
    meter, reason = find_meter(False, tmp_path)
    assert meter is None and "RAPL" in reason and "nvidia" not in reason


def test_a_jetson_s_monitor_is_chosen_for_both(tmp_path: Path) -> None:
    hwmon(tmp_path, 1, "ina3221", {1: ("VDD_IN", 5000, 1000)})
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    for gpu in (True, False):
        meter, source = find_meter(gpu, tmp_path)
        assert isinstance(meter, Meter) and meter.source == source == "INA3221 VDD_IN"
