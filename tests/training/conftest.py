"""A command line to call."""

from __future__ import annotations

import pytest

from tests.support.cli import CommandLine


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(monkeypatch, capfd)
