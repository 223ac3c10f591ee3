"""Run the command line in this process, as its entry point does."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from resnest_edge.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


class CommandLine:
    """Calls `resnest-edge` with arguments; nothing is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capfd = monkeypatch, capfd

    def __call__(self, *arguments: object) -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["resnest-edge", *map(str, arguments)])
        self._capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
        captured = self._capfd.readouterr()
        return Ran(code, captured.out, captured.err)
