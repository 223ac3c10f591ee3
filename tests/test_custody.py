"""What is loaded is what was verified: a bundle that is swapped between the check and the use is refused."""

from __future__ import annotations

import asyncio
import errno
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import resnest_edge
from resnest_edge import bundle as bundle_module
from resnest_edge.backends.base import Session, SessionOptions
from resnest_edge.bundle import MODEL, Bundle, in_custody, open_bundle, reopen_bundle, sign_bundle
from resnest_edge.errors import BundleDamagedError, BundleMisfitError, BundleUntrustedError, OutputError
from resnest_edge.measure.latency import Plan
from resnest_edge.packaging.names import Consumer
from resnest_edge.packaging.package import package
from resnest_edge.pipeline import runtimes
from resnest_edge.pipeline.benchmark import benchmark_bundles
from resnest_edge.pipeline.inspection import inspect_bundle
from resnest_edge.signing import generate_keys
from resnest_edge.spec import GraphInfo
from tests.support.bundles import INFO, write_hollow

pytest.importorskip("cryptography")
OPTIONS = SessionOptions()
ONCE = Plan(rounds=1, seconds=0.01, warmup=0.0)


@pytest.fixture
def public(tmp_path: Path) -> Path:
    return generate_keys(tmp_path / "release.key", force=False)


@pytest.fixture
def trusted(tmp_path: Path, public: Path) -> Bundle:
    """A signed bundle, opened with the key that signed it."""
    folder = write_hollow(tmp_path / "signed")
    sign_bundle(folder, public.with_suffix(""), force=False)
    return open_bundle(folder, trust=public)


def swap(folder: Path) -> None:
    """Put another bundle, whole and unsigned, in the place of one."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    write_hollow(folder, replace(INFO, name="resnest101"))


def test_a_trusted_bundle_is_read_from_a_copy_of_this_users_alone(trusted: Bundle) -> None:
    (trusted.path / "unlisted.bin").write_bytes(b"never signed")
    with in_custody(trusted) as held:
        assert held.path != trusted.path and held.manifest == trusted.manifest
        assert stat.S_IMODE(held.path.stat().st_mode) == 0o700
        assert {path.name for path in held.path.iterdir()} == {MODEL, "engine.xml", "labels.txt"}
        assert held.engine.read_bytes() == b"engine"
        trusted.engine.write_bytes(b"forged")
        assert held.engine.read_bytes() == b"engine"
    assert not held.path.exists()


def test_any_other_bundle_is_itself(trusted: Bundle) -> None:
    bundle = open_bundle(trusted.path)
    with in_custody(bundle) as held:
        assert held is bundle


@pytest.mark.parametrize("name", [MODEL, "engine.xml", "labels.txt"])
@pytest.mark.parametrize("gone", [False, True], ids=["changed", "gone"])
def test_no_file_may_change_between_check_and_load(trusted: Bundle, name: str, gone: bool) -> None:
    (trusted.path / name).unlink()
    if not gone:
        (trusted.path / name).write_bytes(b"forged")
    with pytest.raises(BundleDamagedError, match=f"{trusted.path}.{name}: it was changed after it had been verified"):
        runtimes.load_session(trusted, OPTIONS)
    with pytest.raises(BundleDamagedError, match="changed after"):
        inspect_bundle(trusted)


def test_what_the_runtime_reads_is_what_was_signed(trusted: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forger is as quick as can be: the engine changes when the runtime is about to open it."""
    read: list[bytes] = []

    class Backend:
        def load(self, engine: Path, info: GraphInfo, options: SessionOptions, built: Mapping[str, Any]) -> Session:
            trusted.engine.write_bytes(b"forged")
            read.append(engine.read_bytes())
            raise BundleMisfitError("cannot load this engine", where=engine, hint=f"Look at {engine.parent}.")

    monkeypatch.setattr(runtimes, "backend_for", lambda _: Backend())
    with pytest.raises(BundleMisfitError) as caught:
        runtimes.load_session(trusted, OPTIONS)
    assert read == [b"engine"]
    assert str(caught.value) == f"{trusted.engine}: cannot load this engine. Look at {trusted.path}."


def test_a_full_disk_is_said(trusted: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle_module, "copy_hashed", full)
    with pytest.raises(OutputError, match="disk is full"), in_custody(trusted):
        pytest.fail("nothing was copied")


def test_no_temporary_folder_is_said(trusted: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(OutputError, match="TMPDIR"), in_custody(trusted):
        pytest.fail("nothing was copied")


def test_a_file_that_the_manifest_does_not_list_is_not_copied(trusted: Bundle, tmp_path: Path) -> None:
    (trusted.path / "engine.bin").write_bytes(b"never signed")
    with pytest.raises(BundleDamagedError, match="does not list"):
        trusted.copy_file("engine.bin", tmp_path / "engine.bin")
    assert not (tmp_path / "engine.bin").exists()


def test_another_process_takes_the_same_bundle_or_none(trusted: Bundle) -> None:
    again = reopen_bundle(trusted.path, trusted.digest, trusted=True)
    assert again == trusted and again.trusted
    assert not reopen_bundle(trusted.path, trusted.digest, trusted=False).trusted
    swap(trusted.path)
    with pytest.raises(BundleDamagedError, match=r"manifest\.json: it was changed after"):
        reopen_bundle(trusted.path, trusted.digest, trusted=False)


def test_the_worker_refuses_a_bundle_that_was_swapped_after_its_parent_verified_it(trusted: Bundle) -> None:
    swap(trusted.path)
    open_bundle(trusted.path)  # whole, so without the parent's word it would be measured
    with pytest.raises(BundleDamagedError, match="changed after it had been verified"):
        benchmark_bundles([trusted], ONCE)


def test_the_worker_refuses_a_bundle_that_was_damaged_after_its_parent_verified_it(trusted: Bundle) -> None:
    trusted.engine.write_bytes(b"damaged")
    with pytest.raises(BundleDamagedError, match=r"engine\.xml: the file's bytes differ"):
        benchmark_bundles([trusted], ONCE)


def test_a_package_holds_what_was_verified(trusted: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_bundle(trusted.path)
    monkeypatch.setattr("resnest_edge.packaging.package.open_bundle", lambda *_, **__: opened)
    opened.model.write_bytes(b"forged")
    with pytest.raises(BundleDamagedError, match="changed after"):
        package(trusted.path, Consumer.ONNX, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_python_api_asks_for_the_signature(trusted: Bundle, public: Path, tmp_path: Path) -> None:
    unsigned = write_hollow(tmp_path / "unsigned")
    for key in (public, str(public)):
        with pytest.raises(BundleUntrustedError, match="not signed"):
            resnest_edge.load(unsigned, trust=key)

    async def first() -> None:
        async for _ in resnest_edge.watch(unsigned, "demo:", trust=str(public)):
            pytest.fail("it was loaded")

    with pytest.raises(BundleUntrustedError, match="not signed"):
        asyncio.run(first())
