"""`package`: a verified bundle becomes a folder that a server or program takes as it is. Needs no runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnest_edge.bundle import Bundle, in_custody, open_bundle
from resnest_edge.files import new_folder
from resnest_edge.packaging import deepstream, onnx_folder, openvino_model_server, triton
from resnest_edge.packaging.names import Consumer

_WRITERS: dict[Consumer, Callable[[Bundle, Path], str]] = {
    Consumer.DEEPSTREAM: deepstream.write,
    Consumer.TRITON: triton.write,
    Consumer.OPENVINO_MODEL_SERVER: openvino_model_server.write,
    Consumer.ONNX: onnx_folder.write,
}


@dataclass(frozen=True)
class Package:
    """A package on disk; ``files`` are relative to ``path``, sorted."""

    path: Path
    bundle: Path
    consumer: Consumer
    files: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {
            "package": str(self.path),
            "bundle": str(self.bundle),
            "for": self.consumer.value,
            "files": list(self.files),
        }


def package(
    path: Path, consumer: Consumer, out: Path | None = None, *, force: bool = False, trust: Path | None = None
) -> Package:
    """Write the package of one bundle, whole or not at all.

    Args:
        path: the bundle; it is verified first.
        consumer: what the package is for.
        out: the folder to write; ``BUNDLE-CONSUMER`` beside the bundle if not given.
        force: replace what is there.
        trust: a public key that must have signed the bundle.

    Raises:
        BundleError: the bundle is damaged or does not fit this machine.
        UsageError: the consumer cannot use this bundle; the message says which one it can.
        UnavailableError: DeepStream's graph is rewritten with ONNX's libraries, which are not installed.
        OutputError: ``out`` exists, or cannot be written.
    """
    bundle = open_bundle(path, trust=trust)
    target = out or path.resolve().with_name(f"{path.resolve().name}-{consumer}")
    with new_folder(target, force=force) as folder, in_custody(bundle) as held:
        text = _WRITERS[consumer](held, folder)
        (folder / "README.md").write_text(f"{text}\n{_origin(bundle, consumer)}", encoding="utf-8")
        files = sorted(item.relative_to(folder).as_posix() for item in folder.rglob("*") if item.is_file())
    return Package(target, path, consumer, tuple(files))


def _origin(bundle: Bundle, consumer: Consumer) -> str:
    manifest = bundle.manifest
    frames = manifest.inputs()[0]
    return (
        "## The bundle it comes from\n\n"
        f"- {manifest.info.name}, {manifest.info.precision}, for {manifest.target}; batch {manifest.info.batch}.\n"
        f"- Input `images`: {frames.dtype}, {frames.layout}, resized and cropped to "
        f"{manifest.info.image_size}×{manifest.info.image_size}. Normalisation is in the graph.\n"
        "- Outputs `logits` and `probabilities`: float32, one value a class.\n\n"
        "## What was validated\n\n"
        f"Every file of the bundle against its SHA-256 before it was used. {consumer} itself was not started.\n"
    )
