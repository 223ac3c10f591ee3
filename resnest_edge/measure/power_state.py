"""The power mode and clocks a figure was measured under: nvpmodel and jetson_clocks on a Jetson, else nvidia-smi."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from resnest_edge.measure.power_sources import output, visible_gpu

Run = Callable[[Sequence[str]], str]
"""Runs a program and gives what it prints; ``OSError`` where it cannot."""

_MODE = re.compile(r"NV Power Mode:[ \t]*(\S.*?)[ \t]*$(?:\s*^(\d+)[ \t]*$)?", re.MULTILINE)
_CLOCK = re.compile(r"^(GPU|EMC) MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)", re.MULTILINE)
_CORE = re.compile(r"^cpu\d+:.*?MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)", re.MULTILINE)
GPU_QUERY = {
    "gpu": "name",
    "driver": "driver_version",
    "power_limit_w": "power.limit",
    "sm_clock_mhz": "clocks.sm",
    "max_sm_clock_mhz": "clocks.max.sm",
    "memory_clock_mhz": "clocks.mem",
    "temperature_c": "temperature.gpu",
}
"""Our names for what nvidia-smi is asked."""


def power_state(run: Run = output) -> dict[str, Any]:
    """What decides clocks here; empty on a machine without an NVIDIA GPU.

    Returns:
        On a Jetson ``nvpmodel`` and ``jetson_clocks``, else ``nvidia_smi``; each None where its program is there and
        does not tell (jetson_clocks asks for root).
    """
    commands: dict[str, tuple[Sequence[str], Callable[[str], dict[str, Any] | None]]] = {
        "nvpmodel": (["nvpmodel", "-q"], parse_nvpmodel),
        "jetson_clocks": (["jetson_clocks", "--show"], parse_jetson_clocks),
        "nvidia_smi": (
            [
                "nvidia-smi",
                f"--id={visible_gpu()}",
                f"--query-gpu={','.join(GPU_QUERY.values())}",
                "--format=csv,noheader,nounits",
            ],
            parse_nvidia_smi,
        ),
    }
    state: dict[str, Any] = {}
    for name, (command, parse) in commands.items():
        if shutil.which(command[0]) is None:
            continue
        try:
            state[name] = parse(run(command))
        except OSError:
            state[name] = None
    return state


def parse_nvpmodel(text: str) -> dict[str, Any] | None:
    """Name and number of the power mode, from ``nvpmodel -q``; None where there is none."""
    found = _MODE.search(text)
    if found is None:
        return None
    return {"mode": found.group(1), "id": None if found.group(2) is None else int(found.group(2))}


def parse_jetson_clocks(text: str) -> dict[str, Any] | None:
    """Clocks in MHz, from ``jetson_clocks --show``, and whether they are locked; None where it shows none.

    Returns:
        ``gpu``, ``emc`` and ``cpu`` (the slowest of the cores), each ``{min_mhz, max_mhz, current_mhz}`` or None; and
        ``locked``: whether GPU and every core can only run at their highest clock.
    """
    clocks = {name.lower(): _clock(values, 1e6) for name, *values in _CLOCK.findall(text)}
    cores = [_clock(values, 1e3) for values in _CORE.findall(text)]
    if not clocks and not cores:
        return None
    deciding = [*cores, *([clocks["gpu"]] if "gpu" in clocks else [])]
    return {
        "gpu": clocks.get("gpu"),
        "emc": clocks.get("emc"),
        "cpu": min(cores, key=lambda core: core["min_mhz"], default=None),
        "locked": all(clock["min_mhz"] == clock["max_mhz"] for clock in deciding),
    }


def parse_nvidia_smi(text: str) -> dict[str, Any] | None:
    """The values of :data:`GPU_QUERY`, from one line of comma-separated values; what is not told is None."""
    values = [value.strip() for value in text.strip().partition("\n")[0].split(",")]
    if len(values) != len(GPU_QUERY):
        return None
    return {
        name: value if name in ("gpu", "driver") else _float(value)
        for name, value in zip(GPU_QUERY, values, strict=True)
    }


def state_warnings(state: dict[str, Any]) -> list[str]:
    """What in the state makes a figure hard to repeat, as sentences without a final full stop."""
    found = []
    clocks = state.get("jetson_clocks")
    if clocks is not None and not clocks["locked"]:
        found.append("The clocks are not locked: run sudo jetson_clocks first, for figures that can be repeated")
    mode = state.get("nvpmodel")
    if mode is not None and not mode["mode"].upper().startswith("MAXN"):
        found.append(f"The power mode is {mode['mode']}, which limits the clocks")
    return found


def _clock(values: Sequence[str], unit: float) -> dict[str, float]:
    low, high, now = (int(value) / unit for value in values)
    return {"min_mhz": low, "max_mhz": high, "current_mhz": now}


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
