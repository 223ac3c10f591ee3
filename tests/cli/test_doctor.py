"""`resnest-edge doctor` from the outside."""

from __future__ import annotations

import json

import pytest

from resnest_edge.cli import doctor
from tests.support.cli import CommandLine


def test_tables_name_every_target_and_precision(cli: CommandLine) -> None:
    ran = cli("doctor")
    assert ran.code == 0
    for word in ("This machine", "Engines", "tensorrt-rtx", "fp16", "GPU"):
        assert word in ran.out


def test_json_is_one_object(cli: CommandLine) -> None:
    value = json.loads(cli("doctor", "--json").out)
    assert {"machine", "gpu", "jetson", "power", "meters", "cache", "parts", "abilities", "missing"} <= value.keys()
    for row in value["abilities"]:
        assert row["runs"] or row["reason"], row
    for item in value["missing"]:
        assert item["command"] and "\n" not in item["command"]


JETSON = {
    "machine": {
        "cpu": "Cortex-A78AE",
        "cores": 12,
        "cpu_isa": ["asimddp"],
        "memory_gib": 29.8,
        "os": "Linux 5.15",
        "versions": {"python": "3.10.12"},
    },
    "int8_weight_bits": 8,
    "bf16": False,
    "jetson": {"board": "NVIDIA Jetson AGX Orin Developer Kit", "l4t": "36.4.3", "jetpack": "6.2"},
    "gpu": {"name": "Orin", "compute_capability": "8.7", "cuda": "12.6", "memory_mib": 30536, "driver": None},
    "power": {"nvpmodel": {"mode": "MAXN", "id": 0}, "jetson_clocks": None},
    "meters": {"cpu": {"source": "INA3221 VDD_IN", "reason": None}, "gpu": {"source": None, "reason": "no rails"}},
    "cache": {
        "folder": "/home/cam/.cache/resnest-edge/stages",
        "entries": 2,
        "size_bytes": 3 << 19,
        "limit_bytes": 4 << 30,
    },
}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("Jetson", "NVIDIA Jetson AGX Orin Developer Kit, JetPack 6.2 (Jetson Linux 36.4.3)"),
        ("GPU", "Orin, compute capability 8.7, 30536 MiB"),
        ("CUDA", "12.6"),
        ("Power mode", "MAXN"),
        ("Clocks", "unknown (as root)"),
        ("Power of the CPU", "INA3221 VDD_IN"),
        ("Power of the GPU", "not measured: no rails"),
        ("Cache of builds", "/home/cam/.cache/resnest-edge/stages: 1.5 of at most 4096 MiB (resnest-edge cache)"),
    ],
)
def test_a_jetson_s_rows(row: str, text: str) -> None:
    assert dict(doctor._machine(JETSON))[row] == text
