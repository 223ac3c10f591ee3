"""Where power is told: Jetson's INA3221 monitors, NVIDIA GPUs (NVML or nvidia-smi), x86 CPUs (RAPL), and tegrastats.

No Jetson has run this: the INA3221 and tegrastats parts follow the kernel's ``hwmon/ina3221`` page and NVIDIA's Jetson
Linux Developer Guide, and are tested on recorded text and on a tree of files.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnest_edge.errors import UnavailableError
from resnest_edge.measure.power import Counter, Gauge, Meter

# The rails that add up to a module, by board; the first of which all are there counts. Other rails lie behind these.
# Orin NX and Nano measure their input; AGX Orin and Thor measure three rails; VIN is a whole board's input.
MODULE_RAILS = (
    ("VDD_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
    ("VIN",),
)
_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?=\s|$)")
_SMI_TIMEOUT_S = 10.0
_NO_JETSON = "no INA3221 power monitor is here"


def find_meter(gpu: bool, root: Path = Path("/")) -> tuple[Meter | None, str]:
    """The meter for engines that run on the GPU, or on the CPU.

    Returns:
        The meter and what it is, or None and why there is none, as a sentence.
    """
    sources: Sequence[Callable[[], Meter]] = (
        (lambda: ina3221(root), tegrastats, nvml, nvidia_smi) if gpu else (lambda: ina3221(root), lambda: rapl(root))
    )
    reasons = []
    for make in sources:
        try:
            meter = make()
            return meter, meter.source
        except UnavailableError as exc:
            reasons.append(str(exc))
    return None, "; ".join(reasons)


def module_rails(labels: Sequence[str]) -> tuple[str, ...]:
    """The rails among these that add up to the module's power.

    Raises:
        UnavailableError: none of the known sets is among them.
    """
    found = next((rails for rails in MODULE_RAILS if set(rails) <= set(labels)), None)
    if found is None:
        raise UnavailableError(f"the power rails are {', '.join(sorted(labels)) or 'none'}, and their sum is not known")
    return found


def ina3221(root: Path = Path("/")) -> Meter:
    """Jetson's power monitors: the sum of the rails that make up the module.

    Raises:
        UnavailableError: there is none, or it cannot be read.
    """
    channels = dict(_ina3221_channels(root / "sys/class/hwmon"))
    if not channels:
        raise UnavailableError(_NO_JETSON)
    rails = module_rails(list(channels))

    def watts() -> float:
        return sum(_number(voltage) * _number(current) for voltage, current in (channels[rail] for rail in rails)) / 1e6

    return _tried(Gauge(f"INA3221 {' + '.join(rails)}", watts))


def _ina3221_channels(folder: Path) -> Iterator[tuple[str, tuple[Path, Path]]]:
    """Label of each channel, with the files of its voltage (mV) and current (mA)."""
    for chip in sorted(folder.glob("hwmon*")):
        if _text(chip / "name") != "ina3221":
            continue
        for number in (1, 2, 3):  # further numbers are shunt voltages and sums
            label = _text(chip / f"in{number}_label")
            voltage, current = chip / f"in{number}_input", chip / f"curr{number}_input"
            if label and label != "NC" and voltage.is_file() and current.is_file():
                yield label, (voltage, current)


def rapl(root: Path = Path("/")) -> Meter:
    """The x86 CPU packages and the memory that has a counter of its own, for the whole machine.

    Raises:
        UnavailableError: there is none, or only root may read it.
    """
    folder = root / "sys/class/powercap"
    zones = {zone: _text(zone / "name") or "" for zone in sorted(folder.glob("intel-rapl:*"))}
    counted = {zone: name for zone, name in zones.items() if name.startswith("package") or name == "dram"}
    if not counted:
        raise UnavailableError("this CPU has no RAPL energy counters, or this kernel or virtual machine hides them")
    try:
        return Counter(
            f"RAPL {' + '.join(counted.values())}",
            [_joules(zone / "energy_uj") for zone in counted],
            [_number(zone / "max_energy_range_uj") / 1e6 for zone in counted],
        )
    except (UnavailableError, OSError) as exc:
        fix = f"sudo chmod o+r {folder}/intel-rapl:*/energy_uj"
        raise UnavailableError(f"the RAPL energy counters cannot be read; as root: {fix} ({exc})") from exc


def _joules(path: Path) -> Callable[[], float]:
    return lambda: _number(path) / 1e6


def nvml() -> Meter:
    """The GPU, from NVIDIA's management library: its energy counter (since Volta), else its power.

    Raises:
        UnavailableError: nvidia-ml-py is not installed, or there is no GPU or driver.
    """
    try:
        library: Any = importlib.import_module("pynvml")
    except ImportError as exc:
        raise UnavailableError("nvidia-ml-py is not installed (pip install nvidia-ml-py)") from exc

    def asked(function: str, handle: Any) -> float:
        try:
            return float(getattr(library, function)(handle)) / 1000
        except library.NVMLError as exc:
            raise UnavailableError(f"NVML does not answer ({exc})") from exc

    try:
        library.nvmlInit()
        handle = library.nvmlDeviceGetHandleByIndex(visible_gpu())
    except library.NVMLError as exc:
        raise UnavailableError(f"NVML finds no GPU ({exc})") from exc
    try:
        return Counter("NVML, the GPU", [lambda: asked("nvmlDeviceGetTotalEnergyConsumption", handle)])
    except UnavailableError:
        return _tried(Gauge("NVML, the GPU", lambda: asked("nvmlDeviceGetPowerUsage", handle)))


def nvidia_smi() -> Meter:
    """The GPU's power, from the program nvidia-smi.

    Raises:
        UnavailableError: it is not here, or does not tell.
    """

    def watts() -> float:
        return parse_power_draw(output(["nvidia-smi", f"--id={visible_gpu()}", *_POWER_QUERY]))

    return _tried(Gauge("nvidia-smi, the GPU", watts))


_POWER_QUERY = ("--query-gpu=power.draw", "--format=csv,noheader,nounits")


def parse_power_draw(text: str) -> float:
    """Watts, from one line of ``nvidia-smi --query-gpu=power.draw --format=csv,noheader,nounits``.

    Raises:
        ValueError: the GPU does not tell (``[N/A]``).
    """
    return float(text.strip().partition("\n")[0])


def tegrastats() -> Meter:
    """Jetson's power rails from the program tegrastats, where the monitors' files cannot be read.

    Raises:
        UnavailableError: it is not here, or shows no rails.
    """
    if shutil.which("tegrastats") is None:
        raise UnavailableError("tegrastats is not here")
    process = subprocess.Popen(
        ["tegrastats", "--interval", "100"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    )
    rest = b""

    def line() -> Mapping[str, tuple[int, int]]:
        """The newest whole line; whoever reads rarely must not get old ones."""
        nonlocal rest
        assert process.stdout is not None
        while b"\n" not in rest:
            if not (chunk := os.read(process.stdout.fileno(), 1 << 16)):
                raise UnavailableError("tegrastats has ended")
            rest += chunk
        lines, _, rest = rest.rpartition(b"\n")
        return parse_tegrastats(lines.rpartition(b"\n")[2].decode("ascii", "replace"))

    def close() -> None:
        process.kill()
        process.communicate()

    try:
        rails = module_rails(list(line()))
    except UnavailableError:
        close()
        raise

    def watts() -> float:
        powers = line()
        if not set(rails) <= set(powers):
            raise ValueError("a line without its rails")
        return sum(powers[rail][0] for rail in rails) / 1000

    return Gauge(f"tegrastats {' + '.join(rails)}", watts, close)


def parse_tegrastats(line: str) -> dict[str, tuple[int, int]]:
    """Power of each rail in milliwatts, now and on average, from one line of tegrastats."""
    return {name: (int(now), int(average)) for name, now, average in _RAIL.findall(line)}


def visible_gpu() -> int:
    """Index of the GPU that CUDA shows first, where ``CUDA_VISIBLE_DEVICES`` counts; else 0."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def output(command: Sequence[str]) -> str:
    """What a program prints.

    Raises:
        OSError: it is not here, fails, or does not end.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SMI_TIMEOUT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as exc:
        raise OSError(f"{command[0]} failed: {exc}") from exc
    return done.stdout


def _tried(gauge: Gauge) -> Gauge:
    """The gauge, read once, so that one that does not answer is not chosen."""
    gauge.joules(0.0)
    return Gauge(gauge.source, gauge.watts)


def _number(path: Path) -> float:
    return float(path.read_text(encoding="ascii"))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
