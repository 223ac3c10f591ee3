"""The bundle: written whole, read verified, refused where it does not fit."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnest_edge import environment
from resnest_edge.bundle import Manifest, is_bundle, open_bundle
from resnest_edge.errors import BundleDamagedError, BundleError, BundleMisfitError
from resnest_edge.manifest import encode_manifest
from resnest_edge.spec import GraphInfo, Preprocessing, Target
from tests.support.bundles import INFO, LABELS, write_hollow


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_bytes(encode_manifest(value))  # sealed again, as whoever tampers with it would


def test_what_is_written_is_read(tmp_path: Path) -> None:
    bundle = open_bundle(write_hollow(tmp_path / "b"))
    assert bundle.labels == LABELS
    assert bundle.manifest.info == INFO and bundle.manifest.preprocessing == Preprocessing(32, 36)
    assert set(bundle.manifest.files) == {"model.onnx", "engine.xml", "labels.txt"}
    assert bundle.engine == tmp_path / "b" / "engine.xml" and bundle.size_bytes() == len(b"engine")
    assert bundle.manifest.inputs()[0].shape == ("batch", 32, 32, 3)
    assert Manifest.from_json(bundle.manifest.to_json()) == bundle.manifest
    assert is_bundle(tmp_path / "b") and not is_bundle(tmp_path)


@pytest.mark.parametrize("name", ["model.onnx", "engine.xml", "labels.txt"])
def test_a_changed_or_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_hollow(tmp_path / "b")
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleDamagedError, match=f"{name}.*differ"):
        open_bundle(folder)
    path.unlink()
    with pytest.raises(BundleDamagedError, match=f"{name}.*not here"):
        open_bundle(folder)


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    folder = write_hollow(tmp_path / "b")
    (folder / "engine.xml").rename(tmp_path / "engine.xml")
    (folder / "engine.xml").symlink_to(tmp_path / "engine.xml")
    with pytest.raises(BundleDamagedError, match="not here"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/b", "..", "", "a\\b"])
def test_no_path_leaves_the_folder(tmp_path: Path, name: str) -> None:
    folder = write_hollow(tmp_path / "b")
    edit(folder, lambda value: value["files"].update({name: "0" * 64}))
    with pytest.raises(BundleDamagedError, match="outside"):
        open_bundle(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(schema=2),
        lambda value: value.pop("schema"),
        lambda value: value.pop("files"),
        lambda value: value.update(engine="other.xml"),
        lambda value: value["files"].pop("model.onnx"),
        lambda value: value.update(target="abacus"),
        lambda value: value["graph"].update(batch="8:1:2"),
        lambda value: value["graph"].update(num_classes=4),
        lambda value: value["preprocessing"].update(mean=[1.0]),
        lambda value: value.update(precision=None),
        lambda value: value.update(files=[]),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    folder = write_hollow(tmp_path / "b")
    edit(folder, change)
    with pytest.raises(BundleDamagedError):
        open_bundle(folder)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_mutation_of_a_manifest_ends_in_another_error(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "b"
    if not folder.exists():
        write_hollow(folder)
        (tmp_path / "original").write_bytes((folder / "manifest.json").read_bytes())
    value = json.loads((tmp_path / "original").read_text(encoding="utf-8"))
    junk = st.one_of(
        st.none(),
        st.integers(),
        st.text(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.lists(st.integers()),
        st.booleans(),
    )
    place = value
    key = data.draw(st.sampled_from(sorted(place)))
    while isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)))
    place[key] = data.draw(junk)
    (folder / "manifest.json").write_bytes(encode_manifest(value))
    with contextlib.suppress(BundleError):  # any other error, of ours or of Python's, fails the test
        open_bundle(folder)


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    """Not only by what the change breaks: a plausible value differs from the manifest's own digest."""
    path = write_hollow(tmp_path / "b") / "manifest.json"
    before = path.read_text(encoding="utf-8")
    assert before.count('"resize": 36') == 1
    path.write_text(before.replace('"resize": 36', '"resize": 37'), encoding="utf-8")
    with pytest.raises(BundleDamagedError, match="its own digest differs"):
        open_bundle(tmp_path / "b")
    path.write_text(json.dumps(json.loads(before)), encoding="utf-8")  # laid out anew it is the same manifest
    open_bundle(tmp_path / "b")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_manifest_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    folder = write_hollow(tmp_path / "b")
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleDamagedError):
        open_bundle(folder)


def test_eight_bit_weights_do_not_fit_a_cpu_without_vnni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eight = GraphInfo(**{**vars(INFO), "weight_bits": 8})
    folder = write_hollow(tmp_path / "b", eight)
    monkeypatch.setattr(environment, "has_safe_int8_products", lambda: False)
    with pytest.raises(BundleMisfitError, match="VNNI"):
        open_bundle(folder)
    open_bundle(write_hollow(tmp_path / "rtx", eight, Target.TENSORRT_RTX))
    monkeypatch.setattr(environment, "has_safe_int8_products", lambda: True)
    open_bundle(folder)


def test_a_bundle_that_was_only_exported_says_how_to_build_it(tmp_path: Path) -> None:
    folder = write_hollow(tmp_path / "b")
    edit(folder, lambda value: value.update(engine=None))
    with pytest.raises(BundleMisfitError, match="resnest-edge build"):
        _ = open_bundle(folder).engine
