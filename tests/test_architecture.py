"""The walls of the house, executed: what imports without extras, what stays lazy, how long things may get."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import resnest_edge
from tests.extras import EXTRAS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "resnest_edge"
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 45

# What imports extras at module level, and which; the longest name counts. All else is the core and needs none.
ONNX = {"onnx", "onnx_ir", "onnxscript", "onnxsim", "google", "ml_dtypes"}
OWNED: dict[str, set[str]] = {
    "models": {"torch", "safetensors"},
    "models.variants": set(),  # `resnest-edge models` lists them on a device
    "graph": {"torch", *ONNX},
    "quantize": ONNX,
    "quantize.placement": set(),  # backends hold their placements beside them
    "quantize.alternatives": set(),
    "pipeline.answers": ONNX,
    "pipeline.automatic": ONNX,
    "pipeline.core": {"torch", "safetensors", *ONNX},
    "pipeline.typed": ONNX,
    "pipeline.calibrated": ONNX,
    "pipeline.calibrate": ONNX,
    "pipeline.layerwise": ONNX,
    "pipeline.learning": ONNX,
    "pipeline.probe": ONNX,
    "pipeline.training_images": ONNX,
    "pipeline.reuse": ONNX,
    "pipeline.sensitivity": ONNX,
    "camera.sinks.video": {"av"},
    "camera.sinks.metrics": {"prometheus_client"},
    "camera.sinks.mjpeg": {"prometheus_client"},
    "training": {"torch", "safetensors", *ONNX},
}

# Loaded by no `--help` and no `import resnest_edge`: they would be paid for by every start of the program.
HEAVY = EXTRAS | {"numpy", "PIL", "jinja2", "psutil"}

IMPORT_WITHOUT = """
import importlib, json, sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

modules, blocked = json.load(sys.stdin)
sys.meta_path.insert(0, Wall())
failures = {}
for module in modules:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as exc:
        failures[module] = str(exc)
json.dump(failures, sys.stdout)
"""

LOADED_BY = """
import json, sys
from resnest_edge.cli import main
sys.argv = ["resnest-edge", *sys.argv[1:]]
try:
    code = main() or 0
except SystemExit as exit:
    code = exit.code or 0
json.dump({"code": code, "modules": sorted(sys.modules)}, sys.stderr)
"""


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def owned_by(module: str) -> set[str]:
    """The extras that a module, named relative to the package, may import at module level."""
    parts = module.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((OWNED[prefix] for prefix in prefixes if prefix in OWNED), set())


def modules_by_extras() -> dict[frozenset[str], list[str]]:
    """Dotted names of all modules, grouped by the extras that they may import at module level."""
    groups: dict[frozenset[str], list[str]] = {}
    for path in python_files("resnest_edge"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        groups.setdefault(frozenset(owned_by(module)), []).append(f"resnest_edge.{module}".rstrip("."))
    return groups


def run_python(code: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize("owned", modules_by_extras(), ids=lambda owned: "+".join(sorted(owned)) or "core")
def test_modules_import_with_only_the_extras_they_own(owned: frozenset[str]) -> None:
    if absent := sorted(name for name in owned if importlib.util.find_spec(name) is None):
        pytest.skip(f"needs {', '.join(absent)}, which the core does not install")
    result = run_python(IMPORT_WITHOUT, stdin=json.dumps([modules_by_extras()[owned], sorted(EXTRAS - owned)]))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {}


def test_the_wall_blocks() -> None:
    result = run_python(IMPORT_WITHOUT, stdin=json.dumps([["resnest_edge.backends.base"], ["numpy"]]))
    assert list(json.loads(result.stdout)) == ["resnest_edge.backends.base"], result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["build", "--help"]], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    result = run_python(LOADED_BY, *arguments)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stderr.splitlines()[-1])
    assert report["code"] == 0
    assert "Usage" in result.stdout
    assert {name.partition(".")[0] for name in report["modules"]} & HEAVY == set()


def test_public_names_are_sorted_and_resolve_lazily() -> None:
    names = resnest_edge.__all__
    assert list(names) == sorted(names)
    assert all(hasattr(resnest_edge, name) for name in names)
    assert set(names) <= set(dir(resnest_edge))
    result = run_python("import sys, resnest_edge; print(*{name.partition('.')[0] for name in sys.modules})")
    assert set(result.stdout.split()) & HEAVY == set()


def test_files_stay_short() -> None:
    lengths = {
        str(path.relative_to(ROOT)): path.read_text().count("\n")
        for path in python_files("resnest_edge", "scripts", "benchmarks", "tests")
    }
    assert {path: lines for path, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_functions_stay_short() -> None:
    long = []
    for path in python_files("resnest_edge", "scripts", "benchmarks"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                # from the docstring on: a command's signature is the list of its options
                lines = (node.end_lineno or node.lineno) - node.body[0].lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} ({lines} lines)")
    assert long == []


def test_no_registry_is_named() -> None:
    """Where packages come from is the machine's own setting; a host in the tree would override or leak it."""
    hosts = ["pypi", "pythonhosted", "download.pytorch", "npmjs", "deb.debian", "anaconda", "pypi.nvidia"]
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, hosts))})\.(org|com|net)\b|--(extra-)?index-url")
    suffixes = {".py", ".md", ".toml", ".txt", ".sh", ".json", ".j2", ".cfg", ".yml", ""}
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.splitlines() if Path(name).suffix in suffixes]
    named = [str(path) for path in files if path.is_file() and pattern.search(path.read_text(errors="replace"))]
    assert named == []
