"""Signatures: what is signed loads with the key that signed it, and with no other; nothing else passes for a key."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnest_edge.bundle import SIGNATURE, open_bundle, sign_bundle
from resnest_edge.errors import BundleDamagedError, BundleUntrustedError, InputError, OutputError, UnavailableError
from resnest_edge.manifest import encode_manifest
from resnest_edge.signing import fingerprint, generate_keys
from tests.support.bundles import write_hollow
from tests.support.cli import CommandLine


@pytest.fixture
def key(tmp_path: Path) -> Path:
    generate_keys(tmp_path / "release.key", force=False)
    return tmp_path / "release.key"


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_name("release.key.pub")


@pytest.fixture
def signed(tmp_path: Path, key: Path) -> Path:
    folder = write_hollow(tmp_path / "signed")
    sign_bundle(folder, key, force=False)
    return folder


def test_a_signed_bundle_opens_with_its_key_and_without(signed: Path, public: Path) -> None:
    assert open_bundle(signed, trust=public) == open_bundle(signed)
    assert len((signed / SIGNATURE).read_bytes()) == 64


def test_the_signature_is_what_the_library_makes_of_the_manifest(signed: Path, key: Path, public: Path) -> None:
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    assert (signed / SIGNATURE).read_bytes() == private.sign((signed / "manifest.json").read_bytes())
    assert fingerprint(key) == fingerprint(public)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here to compare with")
def test_openssl_verifies_what_we_sign_and_makes_keys_that_we_take(signed: Path, public: Path, tmp_path: Path) -> None:
    names = ["-in", str(signed / "manifest.json"), "-sigfile", str(signed / SIGNATURE)]
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin", *names]
    assert b"Verified Successfully" in subprocess.run(command, capture_output=True, check=True).stdout
    theirs = tmp_path / "theirs.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(theirs)], check=True)
    subprocess.run(["openssl", "pkey", "-in", str(theirs), "-pubout", "-out", f"{theirs}.pub"], check=True)
    sign_bundle(signed, theirs, force=True)
    open_bundle(signed, trust=Path(f"{theirs}.pub"))
    with pytest.raises(BundleUntrustedError):
        open_bundle(signed, trust=public)


def test_an_unsigned_bundle_is_refused_where_a_key_is_trusted(tmp_path: Path, public: Path) -> None:
    with pytest.raises(BundleUntrustedError, match=r"not signed.*resnest-edge sign"):
        open_bundle(write_hollow(tmp_path / "b"), trust=public)


def test_another_key_is_refused(signed: Path, tmp_path: Path) -> None:
    other = generate_keys(tmp_path / "other.key", force=False)
    with pytest.raises(BundleUntrustedError, match="do not load it"):
        open_bundle(signed, trust=other)


def test_who_rewrites_engine_and_manifest_is_found_out(signed: Path, public: Path) -> None:
    """The forger does everything right but sign: digests, the manifest's own digest."""
    value = json.loads((signed / "manifest.json").read_bytes())
    (signed / "engine.xml").write_bytes(b"another engine")
    value["files"]["engine.xml"] = hashlib.sha256(b"another engine").hexdigest()
    (signed / "manifest.json").write_bytes(encode_manifest(value))
    open_bundle(signed)
    with pytest.raises(BundleUntrustedError):
        open_bundle(signed, trust=public)


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bit_of_a_signed_bundle_can_change(signed: Path, public: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(path.name for path in signed.iterdir())))
    before = (signed / name).read_bytes()
    bit = data.draw(st.integers(0, 8 * len(before) - 1))
    changed = bytearray(before)
    changed[bit // 8] ^= 1 << bit % 8
    (signed / name).write_bytes(bytes(changed))
    try:
        with pytest.raises((BundleDamagedError, BundleUntrustedError)):
            open_bundle(signed, trust=public)
    finally:
        (signed / name).write_bytes(before)
    open_bundle(signed, trust=public)


@pytest.mark.parametrize("signature", [b"", b"x" * 63, b"x" * 64, b"x" * 65])
def test_what_is_no_signature_is_refused(signed: Path, public: Path, signature: bytes) -> None:
    (signed / SIGNATURE).write_bytes(signature)
    with pytest.raises(BundleUntrustedError):
        open_bundle(signed, trust=public)


def test_a_damaged_bundle_is_not_signed(tmp_path: Path, key: Path) -> None:
    folder = write_hollow(tmp_path / "b")
    (folder / "engine.xml").write_bytes(b"changed")
    with pytest.raises(BundleDamagedError):
        sign_bundle(folder, key, force=False)
    assert not (folder / SIGNATURE).exists()


def test_a_signature_is_replaced_only_by_force(signed: Path, tmp_path: Path) -> None:
    other = generate_keys(tmp_path / "other.key", force=False)
    with pytest.raises(OutputError, match="--force"):
        sign_bundle(signed, tmp_path / "other.key", force=False)
    sign_bundle(signed, tmp_path / "other.key", force=True)
    open_bundle(signed, trust=other)


def test_the_private_key_is_its_owners_alone(key: Path, public: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert b"PRIVATE" not in public.read_bytes()
    before = key.read_bytes()
    with pytest.raises(OutputError, match="already exists"):
        generate_keys(key, force=False)
    key.unlink()
    with pytest.raises(OutputError, match="already exists"):  # the public key's file counts too
        generate_keys(key, force=False)
    assert not key.exists()
    generate_keys(key, force=True)
    assert key.read_bytes() != before


def encrypted(key: Path) -> bytes:
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    kind = serialization.PrivateFormat.PKCS8
    return private.private_bytes(serialization.Encoding.PEM, kind, serialization.BestAvailableEncryption(b"secret"))


def other_curve(_: Path) -> bytes:
    private = ec.generate_private_key(ec.SECP256R1())
    kind = serialization.PrivateFormat.PKCS8
    return private.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (encrypted, "has a password"),
        (other_curve, "not of the kind Ed25519"),
        (lambda key: key.with_name("release.key.pub").read_bytes(), "no private key"),
        (lambda key: b"", "no private key"),
        (lambda key: key.read_bytes()[:60], "no private key"),
        (lambda key: b"\0" * 100_000, "longer than"),
    ],
    ids=["encrypted", "another curve", "public", "empty", "truncated", "huge"],
)
def test_what_is_no_private_key_is_said(tmp_path: Path, key: Path, make: Callable[[Path], bytes], message: str) -> None:
    (tmp_path / "bad.key").write_bytes(make(key))
    folder = write_hollow(tmp_path / "b")
    with pytest.raises(InputError, match=message):
        sign_bundle(folder, tmp_path / "bad.key", force=False)
    assert not (folder / SIGNATURE).exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no public key"), (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key")],
)
def test_what_is_no_public_key_is_said(signed: Path, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.pub").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_bundle(signed, trust=tmp_path / "bad.pub")


def test_a_private_key_is_not_taken_for_a_public_one(signed: Path, key: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"private key.*release\.key\.pub"):
        open_bundle(signed, trust=key)
    with pytest.raises(InputError, match="cannot be read"):
        open_bundle(signed, trust=tmp_path / "absent.pub")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        open_bundle(signed, trust=tmp_path / "pipe")


def test_without_the_library_nothing_passes_unverified(
    signed: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    open_bundle(signed)
    with pytest.raises(UnavailableError, match=r"resnest-edge\[sign\]"):
        open_bundle(signed, trust=public)


LOADING: dict[str, tuple[str, ...]] = {
    "verify": (),
    "inspect": (),
    "evaluate": ("--images", "demo:test"),
    "benchmark": (),
    "report": ("--out", "report"),
    "package": ("--for", "onnx"),
    "run": ("--source", "demo:"),
    "build": ("--out", "built"),
}


@pytest.mark.parametrize("verb", LOADING)
def test_every_command_that_loads_asks_for_the_signature(
    cli: CommandLine,
    tmp_path: Path,
    public: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_hollow(tmp_path / "unsigned")
    before = sorted(path.name for path in tmp_path.iterdir())
    ran = cli(verb, folder, *LOADING[verb], "--trust", public)
    assert ran.code == 4 and "not signed" in ran.err and ran.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_from_a_key_to_a_verified_bundle(cli: CommandLine, tmp_path: Path) -> None:
    folder = write_hollow(tmp_path / "b")
    made = json.loads(cli("keygen", tmp_path / "my key", "--json").out)
    assert json.loads(cli("verify", folder, "--json").out)["signed"] is False
    signed = json.loads(cli("sign", folder, "--key", made["private"], "--json").out)
    verified = json.loads(cli("verify", folder, "--trust", made["public"], "--json").out)
    assert signed["fingerprint"] == verified["trusted"] == made["fingerprint"]
    assert verified["signed"] is True and verified["files"] == 3
    assert cli("sign", folder, "--key", made["private"]).code == 2
    (folder / "labels.txt").write_text("a\nb\nc\n")
    ran = cli("verify", folder, "--trust", made["public"])
    assert ran.code == 4 and "labels.txt" in ran.err
