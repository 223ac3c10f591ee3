"""The bundle: an engine with the graph it came from and a manifest that says what it is; written whole, read verified.

engine.xml, engine.bin | engine.onnx | engine.plan    the engine (none in a bundle that was only exported)
model.onnx                                            the typed graph
labels.txt                                            one class name a line, in class order
manifest.json                                         everything else, with the SHA-256 of every file above
manifest.sig                                          in a signed bundle: Ed25519 over the bytes of manifest.json
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from resnest_edge import environment, signing
from resnest_edge.class_names import decode_names, encode_names
from resnest_edge.errors import BundleDamagedError, BundleMisfitError, InputError, OutputError, ResnestEdgeError
from resnest_edge.files import copy_hashed, output_error, read_regular, refuse_existing, sha256_file, write_atomically
from resnest_edge.manifest import Manifest, decode_manifest, encode_manifest
from resnest_edge.spec import Precision, Target

__all__ = [
    "LABELS",
    "MANIFEST",
    "MAX_MANIFEST_BYTES",
    "MODEL",
    "SIGNATURE",
    "Bundle",
    "Manifest",
    "in_custody",
    "is_bundle",
    "open_bundle",
    "reopen_bundle",
    "sign_bundle",
    "write_bundle",
]

MANIFEST = "manifest.json"
MODEL = "model.onnx"
LABELS = "labels.txt"
SIGNATURE = "manifest.sig"
MAX_MANIFEST_BYTES = 1 << 26


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files were verified against its manifest.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
        labels: class names, in class order.
        digest: SHA-256, in hex, of the bytes of ``manifest.json`` that were read.
        trusted: whether a signature over those bytes was asked for, and is right.
    """

    path: Path
    manifest: Manifest
    labels: tuple[str, ...]
    digest: str
    trusted: bool = field(default=False, compare=False)

    @property
    def model(self) -> Path:
        """The typed graph."""
        return self.path / MODEL

    @property
    def engine(self) -> Path:
        """The engine file to load.

        Raises:
            BundleMisfitError: the bundle was exported and not built yet.
        """
        if self.manifest.engine is None:
            raise BundleMisfitError(
                "this bundle holds a graph and no engine",
                where=self.path,
                hint=f"Build it here: resnest-edge build {self.path} --target {self.manifest.target} --out DIR.",
            )
        return self.path / self.manifest.engine

    def size_bytes(self) -> int:
        """Size of the engine's files, or of the graph where there is no engine."""
        names = [name for name in self.manifest.files if name.startswith("engine")] or [MODEL]
        return sum((self.path / name).stat().st_size for name in names)

    def copy_file(self, name: str, to: Path) -> None:
        """Copy one of the manifest's files; the copy holds the bytes that were verified, or there is an error.

        Raises:
            BundleDamagedError: the file was changed or taken away after the bundle was opened, or never was in it.
            OSError: the copy cannot be written.
        """
        source = self.path / name
        if name not in self.manifest.files:
            raise BundleDamagedError("the manifest does not list this file", where=source, hint="Build it again.")
        try:
            with source.open("rb") as stream:
                digest = copy_hashed(stream, to)
        except FileNotFoundError as exc:
            raise _changed(source) from exc
        if digest != self.manifest.files[name]:
            raise _changed(source)


def write_bundle(folder: Path, manifest: Manifest, labels: tuple[str, ...]) -> Manifest:
    """Complete a folder that holds ``model.onnx`` and engine files already: labels, digests, manifest.

    Returns:
        The manifest with ``files`` filled in.
    """
    write_atomically(folder / LABELS, encode_names(labels))
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    complete = Manifest(**{**vars(manifest), "files": {name: sha256_file(folder / name) for name in names}})
    write_atomically(folder / MANIFEST, encode_manifest(complete.to_json()))
    return complete


def open_bundle(path: Path, *, trust: Path | None = None) -> Bundle:
    """Read a bundle, verify every file against the manifest, and check that it fits this machine.

    Args:
        path: the bundle's folder.
        trust: a public key that must have signed the manifest; None asks for no signature.

    Raises:
        BundleDamagedError: no bundle, an unreadable manifest, or a file that is missing or changed.
        BundleUntrustedError: not signed, or not by the key that ``trust`` belongs to.
        BundleMisfitError: built for a CPU that this one is not.
    """
    return _open(path, _manifest_bytes(path), trust)


def reopen_bundle(path: Path, digest: str, *, trusted: bool) -> Bundle:
    """Open, in another process, the bundle that one process verified already; or none, where it is another by now.

    Args:
        path: the bundle's folder.
        digest: ``Bundle.digest`` of the bundle that was verified.
        trusted: its ``Bundle.trusted``.

    Raises:
        BundleError: as :func:`open_bundle`, and where the manifest is not that one any more.
    """
    data = _manifest_bytes(path)
    if hashlib.sha256(data).hexdigest() != digest:
        raise _changed(path / MANIFEST)
    return replace(_open(path, data, None), trusted=trusted)


@contextmanager
def in_custody(bundle: Bundle) -> Iterator[Bundle]:
    """A bundle whose files nobody else changes while the block reads them.

    A trusted bundle is copied into a folder of this user's alone, each file held to its digest on the way: what is
    read there is what was signed, whoever else can write to the bundle. Any other bundle is itself. What goes wrong
    in the block names the bundle, not the copy.

    Raises:
        BundleDamagedError: a file was changed after the bundle was opened.
        OutputError: there is no room for the copy.
    """
    if not bundle.trusted:
        yield bundle
        return
    with _private_folder() as name:
        try:
            for file in bundle.manifest.files:
                bundle.copy_file(file, Path(name) / file)
        except OSError as exc:
            raise output_error(Path(name), exc) from exc
        try:
            yield replace(bundle, path=Path(name))
        except ResnestEdgeError as exc:
            raise exc.renamed(name, str(bundle.path)) from exc


def sign_bundle(path: Path, key: Path, *, force: bool) -> Bundle:
    """Verify a bundle and sign its manifest, and with it the SHA-256 of every file.

    Raises:
        BundleError: as :func:`open_bundle`: what is damaged is not signed.
        InputError: no private key.
        OutputError: the bundle is signed already and ``force`` is not given, or cannot be written to.
    """
    data = _manifest_bytes(path)
    bundle = _open(path, data, None)
    signature = signing.sign(data, key)
    refuse_existing(path / SIGNATURE, force=force)
    write_atomically(path / SIGNATURE, signature)
    return bundle


def is_bundle(path: Path) -> bool:
    """Whether a path looks like a bundle: a folder with a manifest."""
    return (path / MANIFEST).is_file()


def _open(path: Path, data: bytes, trust: Path | None) -> Bundle:
    if trust is not None:
        signing.verify(data, path / SIGNATURE, trust)
    manifest = _read_manifest(path, data)
    for name, expected in manifest.files.items():
        _verify(path / name, expected)
    if not {MODEL, LABELS} <= set(manifest.files):
        raise BundleDamagedError(f"the manifest does not list {MODEL} and {LABELS}", where=path)
    labels = _read_labels(path)
    if len(labels) != manifest.info.num_classes:
        raise BundleDamagedError(f"{len(labels)} labels for {manifest.info.num_classes} classes", where=path)
    _check_fit(path, manifest)
    return Bundle(path, manifest, labels, hashlib.sha256(data).hexdigest(), trusted=trust is not None)


def _private_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that only this user can enter, gone after the ``with`` block."""
    try:
        return tempfile.TemporaryDirectory(prefix="resnest-edge-")
    except OSError as exc:
        raise OutputError(
            "what --trust verified is copied before it is loaded, and there is no temporary folder to copy it to",
            hint="Free some space, or name a folder in TMPDIR.",
        ) from exc


def _changed(path: Path) -> BundleDamagedError:
    hint = "Something else writes to this bundle: find out what, and open it again."
    return BundleDamagedError("it was changed after it had been verified", where=path, hint=hint)


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        return decode_names((path / LABELS).read_bytes())
    except InputError as exc:
        raise BundleDamagedError(exc.what, where=path / LABELS, hint="Build it again.") from exc


def _manifest_bytes(path: Path) -> bytes:
    hint = "A bundle is a folder that `resnest-edge build` or `export` wrote."
    try:
        return read_regular(path / MANIFEST, MAX_MANIFEST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as exc:
        what = f"there is no {MANIFEST} in this folder" if path.is_dir() else "there is no bundle here"
        raise BundleDamagedError(what, where=path, hint=hint) from exc
    except (OSError, ValueError) as exc:
        raise BundleDamagedError(f"{MANIFEST} cannot be read ({exc})", where=path, hint="Build it again.") from exc


def _read_manifest(path: Path, data: bytes) -> Manifest:
    try:
        return decode_manifest(data)
    except InputError as exc:
        raise BundleDamagedError(f"{MANIFEST} is damaged: {exc.what}", where=path, hint=exc.hint) from exc


def _verify(path: Path, expected: str) -> None:
    if not os.path.isfile(path) or os.path.islink(path):
        raise BundleDamagedError("the manifest lists this file and it is not here", where=path, hint="Build it again.")
    try:
        digest = sha256_file(path)
    except OSError as exc:
        raise BundleDamagedError(f"the file cannot be read ({exc.strerror or exc})", where=path) from exc
    if digest != expected:
        raise BundleDamagedError(
            "the file's bytes differ from the manifest", where=path, hint="Copy the bundle again, or build it again."
        )


def _check_fit(path: Path, manifest: Manifest) -> None:
    on_cpu = manifest.target in (Target.OPENVINO, Target.ONNXRUNTIME)
    eight_bit = manifest.info.precision is Precision.INT8 and manifest.info.weight_bits == 8
    if on_cpu and eight_bit and not environment.has_safe_int8_products():
        raise BundleMisfitError(
            "this INT8 engine has 8-bit weights, and this CPU has no VNNI: its 16-bit sums would overflow "
            "and the answers would be wrong",
            where=path,
            hint="Build it again on this machine; it will use 7-bit weights.",
        )
