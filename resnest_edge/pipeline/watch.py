"""The Python API's cameras: results as an asynchronous iterator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resnest_edge.camera.results import Watch
from resnest_edge.camera.stream import StreamOptions
from resnest_edge.pipeline.cameras import CameraRequest, open_stream


def watch(
    bundle: str | Path,
    sources: str | Sequence[str],
    *,
    sinks: Sequence[str] = (),
    top_k: int = 1,
    threshold: float = 0.0,
    smoothing: float = 0.0,
    batch: int | None = None,
    threads: int | None = None,
    options: StreamOptions | None = None,
    trust: str | Path | None = None,
) -> Watch:
    """Classify what cameras see; the results are an asynchronous iterator.

    Args:
        bundle: the engine.
        sources: one URI or several, as after ``--source``: files, streams, devices, ``demo:``.
        sinks: URIs of sinks that get the results as well.
        top_k: classes of one answer at most.
        threshold: probability, 0 to 1, from which a class is named.
        smoothing: weight of the past in a source's probabilities, 0 (off) up to 1.
        batch: frames per inference at most; None means one for each source.
        threads: CPU threads of the engine; None means every core.
        options: queues, patience with sources, limits.
        trust: a public key that must have signed the bundle; None asks for no signature.

    Returns:
        An asynchronous iterator of :class:`~resnest_edge.camera.base.CameraResult`, and an asynchronous context
        manager. Nothing is opened before it is read, so errors of the bundle, sources and sinks come from there.
        A program that reads too slowly makes files wait, and cameras drop their oldest frames.
    """
    request = CameraRequest(
        bundle=Path(bundle),
        sources=(sources,) if isinstance(sources, str) else tuple(sources),
        sinks=tuple(sinks),
        top_k=top_k,
        threshold=threshold,
        smoothing=smoothing,
        batch=batch,
        threads=threads,
        options=options or StreamOptions(),
        trust=None if trust is None else Path(trust),
    )
    return Watch(lambda sink: open_stream(request, sinks=(sink,)))
