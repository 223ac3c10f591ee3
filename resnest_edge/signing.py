"""Ed25519 (RFC 8032) signatures over a file's bytes, through ``cryptography``, which the extra ``sign`` installs.

Keys are PEM files, as ``openssl genpkey -algorithm ed25519`` and ``openssl pkey -pubout`` write them too; a signature
is its 64 raw bytes, so that ``openssl pkeyutl -verify -rawin`` can check one without this package.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from resnest_edge.errors import BundleUntrustedError, InputError, UnavailableError
from resnest_edge.files import read_regular, refuse_existing, write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PUBLIC_SUFFIX = ".pub"
_MAX_KEY_BYTES = 1 << 16
_SIGNATURE_BYTES = 64
_MAKE_KEY = "Make a pair with: resnest-edge keygen NAME"


def generate_keys(private: Path, *, force: bool) -> Path:
    """Write a new private key, readable by its owner alone, and its public key beside it.

    Args:
        private: the private key's file; the public key's name is this with ``.pub`` added.
        force: replace files that are there.

    Returns:
        The public key's file.

    Raises:
        OutputError: a file exists already, or cannot be written.
        UnavailableError: ``cryptography`` is not installed.
    """
    serialization, ed25519 = _library()
    public = private.with_name(private.name + PUBLIC_SUFFIX)
    for path in (private, public):
        refuse_existing(path, force=force)
    key = ed25519.Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_atomically(private, secret, mode=0o600)
    shown = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_atomically(public, shown)
    return public


def sign(data: bytes, private: Path) -> bytes:
    """The signature, 64 bytes, of ``data``.

    Raises:
        InputError: the file holds no Ed25519 private key without a password.
        UnavailableError: ``cryptography`` is not installed.
    """
    return _private_key(private).sign(data)


def verify(data: bytes, signature: Path, public: Path) -> None:
    """Check that the file ``signature`` signs ``data``, by the holder of the private key to ``public``.

    Raises:
        BundleUntrustedError: there is no signature, or it is another one.
        InputError: ``public`` holds no Ed25519 public key.
        UnavailableError: ``cryptography`` is not installed.
    """
    key = _public_key(public)
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(_read_signature(signature), data)
    except InvalidSignature as exc:
        raise BundleUntrustedError(
            f"the signature is not that of {public} over this bundle",
            where=signature,
            hint="It was changed after it was signed, or signed with another key: do not load it.",
        ) from exc


def fingerprint(path: Path) -> str:
    """SHA-256, in hex, of the 32 bytes of a public key, or of the one that belongs to a private key.

    Raises:
        InputError: the file holds no Ed25519 key.
        UnavailableError: ``cryptography`` is not installed.
    """
    key = _private_key(path).public_key() if b"PRIVATE KEY" in _read(path) else _public_key(path)
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _read_signature(path: Path) -> bytes:
    try:
        return read_regular(path, _SIGNATURE_BYTES)
    except FileNotFoundError as exc:
        hint = "Sign it where it was built: resnest-edge sign BUNDLE --key FILE."
        raise BundleUntrustedError("this bundle is not signed", where=path.parent, hint=hint) from exc
    except OSError as exc:
        raise BundleUntrustedError(f"this is no signature ({exc.strerror or exc})", where=path) from exc


def _private_key(path: Path) -> Ed25519PrivateKey:
    serialization, ed25519 = _library()
    data = _read(path)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, _unsupported()) as exc:
        encrypted = isinstance(exc, TypeError)
        what = "the private key has a password" if encrypted else "this is no private key in PEM form"
        hint = "Write it without one: openssl pkey -in KEY -out FILE." if encrypted else f"{_MAKE_KEY}."
        raise InputError(what, where=path, hint=hint) from exc
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InputError("this private key is not of the kind Ed25519", where=path, hint=f"{_MAKE_KEY}.")
    return cast("Ed25519PrivateKey", key)


def _public_key(path: Path) -> Ed25519PublicKey:
    serialization, ed25519 = _library()
    data = _read(path)
    if b"PRIVATE KEY" in data:
        raise InputError(
            "this is a private key", where=path, hint=f"Give the public one, {path.name}{PUBLIC_SUFFIX}, and keep this."
        )
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, _unsupported()) as exc:
        raise InputError("this is no public key in PEM form", where=path, hint=f"{_MAKE_KEY}.") from exc
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InputError("this public key is not of the kind Ed25519", where=path, hint=f"{_MAKE_KEY}.")
    return cast("Ed25519PublicKey", key)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _MAX_KEY_BYTES)
    except OSError as exc:
        raise InputError(f"the key cannot be read ({exc.strerror or exc})", where=path, hint="Check its path.") from exc


def _library() -> tuple[Any, Any]:
    """The modules of keys as files and of Ed25519."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ModuleNotFoundError as exc:
        raise UnavailableError(
            "signatures need the library cryptography, which is not installed",
            hint="Install it with: pip install 'resnest-edge[sign]'.",
        ) from exc
    return serialization, ed25519


def _unsupported() -> type[Exception]:
    from cryptography.exceptions import UnsupportedAlgorithm

    return UnsupportedAlgorithm
