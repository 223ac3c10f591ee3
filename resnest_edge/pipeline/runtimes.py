"""Targets to backends, and bundles to sessions."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from resnest_edge.backends.base import Backend, Session, SessionOptions
from resnest_edge.bundle import Bundle, in_custody, open_bundle, reopen_bundle
from resnest_edge.errors import UnavailableError
from resnest_edge.spec import Target

_CPU_MODULES = {Target.OPENVINO: "openvino", Target.ONNXRUNTIME: "onnxruntime"}


def backend_for(target: Target) -> Backend:
    """The backend of one target; nothing is imported until it is used."""
    if target is Target.OPENVINO:
        from resnest_edge.backends.openvino import OpenVINOBackend

        return OpenVINOBackend()
    if target is Target.ONNXRUNTIME:
        from resnest_edge.backends.onnxruntime import ONNXRuntimeBackend

        return ONNXRuntimeBackend()
    from resnest_edge.backends.tensorrt import TensorRTBackend

    return TensorRTBackend(target)


def default_target() -> Target:
    """The first CPU runtime that is installed: OpenVINO, else ONNX Runtime.

    Raises:
        UnavailableError: neither is here.
    """
    for target, module in _CPU_MODULES.items():
        if importlib.util.find_spec(module) is not None:
            return target
    raise UnavailableError(
        "no runtime is installed", hint="Install one with: pip install 'resnest-edge[cpu]', or name a --target."
    )


def open_session(path: Path, options: SessionOptions | None = None, *, trust: Path | None = None) -> Session:
    """Verify a bundle and load its engine.

    Args:
        path: the bundle.
        options: how to run it.
        trust: a public key that must have signed the bundle; None asks for no signature.

    Raises:
        BundleError: damaged, not signed by ``trust``, or not for this machine.
        UnavailableError: its runtime or device is not here.
    """
    return load_session(open_bundle(path, trust=trust), options or SessionOptions())


def reopen_session(path: Path, options: SessionOptions, *, digest: str, trusted: bool) -> Session:
    """Load, in a process that measures, the engine of the bundle that its parent verified.

    Args:
        path: the bundle.
        options: how to run it.
        digest: of the bundle as the parent found it, ``Bundle.digest``.
        trusted: whether the parent asked for a signature.

    Raises:
        BundleError: damaged, not for this machine, or not the bundle that the parent verified any more.
        UnavailableError: its runtime or device is not here.
    """
    return load_session(reopen_bundle(path, digest, trusted=trusted), options)


def load_session(bundle: Bundle, options: SessionOptions) -> Session:
    """Load the engine of a verified bundle; that of a trusted one, from bytes that nobody else can change."""
    manifest = bundle.manifest
    with in_custody(bundle) as held:
        return backend_for(manifest.target).load(held.engine, manifest.info, options, manifest.details)
