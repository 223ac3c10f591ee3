"""Bundles behind cameras: what the user asks for, opened and put together into a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from resnest_edge.backends.base import SessionOptions
from resnest_edge.bundle import Bundle, open_bundle
from resnest_edge.camera.answers import Answerer
from resnest_edge.camera.base import Sink
from resnest_edge.camera.engine import CameraEngine, Contract, batch_sizes
from resnest_edge.camera.sinks import open_sinks
from resnest_edge.camera.sources import open_source
from resnest_edge.camera.stream import Stream, StreamOptions
from resnest_edge.camera.uri import parse_sources
from resnest_edge.errors import UsageError
from resnest_edge.pipeline.runtimes import load_session


@dataclass(frozen=True)
class CameraRequest:
    """What one run is asked for.

    Attributes:
        bundle: the engine.
        sources: URIs; see :mod:`resnest_edge.camera.uri`.
        sinks: URIs; see :mod:`resnest_edge.camera.sinks`.
        top_k: classes of one answer at most.
        threshold: probability from which a class is named.
        smoothing: weight of the past in a source's probabilities, 0 (off) up to 1.
        batch: frames per inference at most; None means one for each source, or the batch the engine was tuned for.
        threads: CPU threads of the engine; None means every core.
        options: queues, patience and limits.
        trust: a public key that must have signed the bundle, and any that takes its place.
    """

    bundle: Path
    sources: tuple[str, ...]
    sinks: tuple[str, ...] = ()
    top_k: int = 1
    threshold: float = 0.0
    smoothing: float = 0.0
    batch: int | None = None
    threads: int | None = None
    options: StreamOptions = field(default_factory=StreamOptions)
    trust: Path | None = None


def open_stream(
    request: CameraRequest, *, sinks: Sequence[Sink] = (), tell: Callable[[str], None] = lambda _: None
) -> Stream:
    """Check everything, load the engine, open the sinks; no source is connected to yet.

    Args:
        request: what to run.
        sinks: more sinks, open already; the stream closes them.
        tell: told what a person would want to know.

    Raises:
        UsageError: a source, a sink or a value that makes no sense.
        InputError: a file or folder that is not there.
        BundleError: the bundle is damaged, or not for this machine.
        UnavailableError: a library, device or runtime is not here.
        OutputError: a sink cannot write.
    """
    uris = parse_sources(request.sources)
    bundle = open_bundle(request.bundle, trust=request.trust)
    accepted = bundle.manifest.info.batch
    if request.batch is not None and request.batch > accepted.maximum:
        raise UsageError(
            f"batch {request.batch} is outside what this engine was built for ({accepted})",
            hint="Use a batch in that range, or build with another --batch.",
        )
    answering = Answerer(bundle.labels, top_k=request.top_k, threshold=request.threshold, smoothing=request.smoothing)
    sources = [open_source(uri, timeout=request.options.capture.stall) for uri in uris]

    def load(path: Path) -> CameraEngine:
        return _load(open_bundle(path, trust=request.trust), request, len(sources))

    with ExitStack() as undo:
        engine = _load(bundle, request, len(sources))
        undo.callback(engine.close)
        opened = open_sinks(request.sinks, labels=bundle.labels, tell=tell)
        for sink in opened:
            undo.callback(sink.close)
        stream = Stream(engine, sources, answering, (*opened, *sinks), request.options, load=load, tell=tell)
        undo.pop_all()
    return stream


def load_engine(path: Path, *, batch: int = 1, threads: int | None = None) -> CameraEngine:
    """Load a bundle's engine for a stream.

    Args:
        path: of the bundle.
        batch: frames per inference at most; a larger maximum than the engine's is its own.
        threads: CPU threads; None means every core.

    Raises:
        BundleError: the bundle is damaged, or not for this machine.
        UnavailableError: its runtime or device is not here.
    """
    return _load_batches(open_bundle(path), batch, threads)


def _load(bundle: Bundle, request: CameraRequest, cameras: int) -> CameraEngine:
    most = request.batch or max(cameras, bundle.manifest.info.batch.optimum)
    return _load_batches(bundle, most, request.threads)


def _load_batches(bundle: Bundle, most: int, threads: int | None) -> CameraEngine:
    manifest = bundle.manifest
    contract = Contract(bundle.labels, manifest.preprocessing, manifest.info.input_format)
    with ExitStack() as undo:
        sessions = {}
        for size in batch_sizes(manifest.info.batch, most):
            sessions[size] = load_session(bundle, SessionOptions(batch=size, threads=threads))
            undo.callback(sessions[size].close)
        undo.pop_all()
    return CameraEngine(str(bundle.path), contract, sessions)
