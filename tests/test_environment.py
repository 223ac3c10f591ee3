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


def test_a_machine_without_cpuinfo_is_taken_to_have_nothing(tmp_path: Path) -> None:
    assert environment.cpu_features.__wrapped__(tmp_path / "missing") == frozenset()
    assert environment.cpu_name(tmp_path / "missing")


def test_the_stamp_is_plain_json() -> None:
    stamp = environment.describe()
    assert stamp["cores"] >= 1 and stamp["versions"]["numpy"]
