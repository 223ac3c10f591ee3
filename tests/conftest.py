"""What tests share: a command line, where photographs are, a cache of its own, runs without extras (``--core``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.extras import EXTRAS, WORKSTATION
from tests.support.cli import CommandLine

_ROOT = Path(__file__).resolve().parent.parent

hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line, to call in this process."""
    return CommandLine(monkeypatch, capfd)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real photographs; the test skips, and says so, where there is none."""
    folder = Path(os.environ.get("RESNEST_EDGE_DATA") or _ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no photographs here: set RESNEST_EDGE_DATA to a folder that holds imagenette/")
    return folder


@pytest.fixture(scope="session")
def workstation(request: pytest.FixtureRequest) -> None:
    """For tests that build engines: with ``--core``, they are skipped by name where the extras are missing."""
    if request.config.getoption("--core"):
        for library in WORKSTATION:
            pytest.importorskip(
                library, reason=f"builds an engine, which needs {library}", exc_type=ModuleNotFoundError
            )


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache folder out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RESNEST_EDGE_CACHE", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--core", action="store_true", help="skip test modules that import an extra which is missing")


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if not parent.config.getoption("--core"):
        return None
    module: pytest.Module = _CoreModule.from_parent(parent, path=module_path)
    return module


class _CoreModule(pytest.Module):
    """A test module that is skipped when importing it needs an extra; any other import error stays an error."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        try:
            return list(super().collect())
        except self.CollectError as exc:
            missing = getattr(exc.__cause__, "name", None) or ""
            if isinstance(exc.__cause__, ModuleNotFoundError) and missing.partition(".")[0] in EXTRAS:
                pytest.skip(f"{self.nodeid} needs {missing}, which the core does not install", allow_module_level=True)
            raise
