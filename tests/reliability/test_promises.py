"""docs/reliability.md: every test it names is there. And promises that the source itself can be asked about."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "resnest_edge").rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "function"), NAMED, ids="::".join)
def test_a_test_that_a_promise_names_is_there(file: str, function: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert function.startswith("test_")
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_a_test() -> None:
    assert len(NAMED) > 30
    paragraphs = [part for part in re.split(r"\n\n(?!- )", PAGE) if "**" in part]
    assert len(paragraphs) > 10
    assert [part for part in paragraphs if "tests/" not in part] == []


def test_no_server_binds_everywhere() -> None:
    """No address of every interface stands in the package: whoever wants one types it."""
    everywhere = ("0.0.0.0", "::", "[::]")
    found = []
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in everywhere:
                found.append(f"{path.name}:{node.lineno}")
            if isinstance(node, ast.Tuple) and len(node.elts) == 2:  # ("", port) listens on every interface too
                host, port = node.elts
                empty = isinstance(host, ast.Constant) and host.value == ""
                if empty and isinstance(port, ast.Constant) and type(port.value) is int:
                    found.append(f"{path.name}:{node.lineno}")
    assert found == []


def test_downloads_stand_in_one_module() -> None:
    """Nothing but models/pretrained.py, which verifies, fetches a URL; the webhook only sends, where it is told to."""
    doors = {"urllib.request", "http.client", "requests", "httpx", "ftplib"}
    users = set()
    for path, tree in sources():
        for node in ast.walk(tree):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if doors & set(names):
                users.add(path.relative_to(ROOT / "resnest_edge").as_posix())
    assert users == {"models/pretrained.py", "camera/sinks/webhook.py"}
