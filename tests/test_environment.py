"""What a machine says of itself, from recorded /proc/cpuinfo texts."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from resnest_edge import environment

MILAN = "model name\t: AMD EPYC 7003\nflags\t\t: fpu sse2 avx avx2 fma f16c\n"
SAPPHIRE = "model name\t: Intel(R) Xeon(R)\nflags\t\t: avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_int8\n"
ORIN = "processor\t: 0\nFeatures\t: fp asimd asimddp crc32\n"


@pytest.mark.parametrize(
    ("text", "machine", "safe", "bf16"),
    [
        (MILAN, "x86_64", False, False),
        (SAPPHIRE, "x86_64", True, True),
        (ORIN, "aarch64", True, False),
        ("", "x86_64", False, False),
    ],
)
def test_features_decide_weights_and_float_type(
    text: str, machine: str, safe: bool, bf16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text, encoding="utf-8")
    features = environment.cpu_features.__wrapped__(path)
    monkeypatch.setattr(environment, "cpu_features", lambda: features)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert environment.has_safe_int8_products() is safe
    assert environment.has_bf16() is bf16
    assert environment.has_amx_bf16() is (text == SAPPHIRE)


def test_a_machine_without_cpuinfo_is_taken_to_have_nothing(tmp_path: Path) -> None:
    assert environment.cpu_features.__wrapped__(tmp_path / "missing") == frozenset()
    assert environment.cpu_name(tmp_path / "missing")


def test_the_stamp_is_plain_json() -> None:
    stamp = environment.describe()
    assert stamp["cores"] >= 1 and stamp["versions"]["numpy"]


ORIN_RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan 8\n"
DPKG = """\
Package: nvidia-l4t-core
Status: install ok installed
Version: 36.4.3-20250107174145

Package: nvidia-jetpack
Status: install ok installed
Description: NVIDIA Jetpack Meta Package
 in two lines
Version: 6.2.1+b38

Package: other
Version: 9.9
"""


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_a_jetson_tells_its_board_and_jetpack(tmp_path: Path) -> None:
    tree(tmp_path, etc__nv_tegra_release=ORIN_RELEASE)
    assert environment.jetson(tmp_path) == {"board": "unknown", "l4t": "36.4.3", "jetpack": "6.2"}
    tree(tmp_path, var__lib__dpkg__status=DPKG)
    (tmp_path / "proc" / "device-tree").mkdir(parents=True)
    (tmp_path / "proc" / "device-tree" / "model").write_text("NVIDIA Jetson AGX Orin Developer Kit\0")
    assert environment.jetson(tmp_path) == {
        "board": "NVIDIA Jetson AGX Orin Developer Kit",
        "l4t": "36.4.3",
        "jetpack": "6.2.1",
    }


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("36.4.0", "6.1"),
        ("36.9.9", "6.x"),
        ("38.2.2", "7.x"),
        ("39.2.1", "7.2.1"),
        ("35.4.1", "5.x"),
        ("40.1.0", "unknown (Jetson Linux 40.1.0)"),
    ],
)
def test_jetpacks_of_jetson_linux(l4t: str, jetpack: str) -> None:
    assert environment.jetpack_of(l4t) == jetpack


def test_other_machines_are_no_jetson(tmp_path: Path) -> None:
    assert environment.jetson(tmp_path) is None
    assert environment.jetson(tree(tmp_path, etc__nv_tegra_release="something else")) is None
