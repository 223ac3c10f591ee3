"""Commands on a machine without the extras they need: exit code 3, and what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resnest_edge.cli import entry
from tests.extras import EXTRAS
from tests.support.cli import CommandLine

ROOT = Path(__file__).resolve().parents[2]
WITHOUT = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

blocked = set(sys.argv.pop(1).split())
sys.meta_path.insert(0, Wall())
from resnest_edge.cli import main
main()
"""
EXPORT = {name for name, extra in entry.EXTRA_OF.items() if extra == "export"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "--precision", "fp32"),
        ("build", "my.onnx"),
        ("build", "resnest50", "--weights", "none", "--precision", "fp32"),
        ("export", "--out", "out"),
        ("calibrate", "--images", "demo:train", "--list", "list.txt"),
        ("sensitivity",),
        ("finetune", "--out", "tuned.safetensors"),
    ],
    ids=" ".join,
)
def test_what_needs_the_workstation_says_so(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", WITHOUT, " ".join(EXPORT), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment(), check=False)
    assert (ran.returncode, ran.stdout) == (3, ""), ran.stderr
    assert "pip install 'resnest-edge[" in ran.stderr and "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_every_library_of_an_extra_is_known_and_every_extra_exists() -> None:
    assert set(entry.EXTRA_OF) <= EXTRAS
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    assert all(f"\n{extra} = [" in table for extra in entry.EXTRA_OF.values())


@pytest.mark.parametrize(
    ("module", "code", "words"), [("onnx.helper", 3, "resnest-edge[export]"), ("os2", 70, "a bug")]
)
def test_a_missing_module_that_no_extra_brings_is_a_bug(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, module: str, code: int, words: str
) -> None:
    def broken(**_: object) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(entry, "app", broken)
    ran = cli("doctor")
    assert ran.code == code and words in ran.err
    if code == 70:
        Path(ran.err.strip().rpartition(" ")[2]).unlink()
