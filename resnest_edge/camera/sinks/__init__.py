"""Where results go, and the one place that opens every kind.

live                     a table on stderr, redrawn four times a second
jsonl:answers.jsonl      one JSON object a result, appended; jsonl:- is stdout
video:out.mp4            every answered frame, its answers drawn on it; video:out.mp4?fps=25 for files
mjpeg:8080               a page on 127.0.0.1 with a live view, /metrics and /healthz; mjpeg:HOST:PORT
webhook:https://…        one POST of JSON a result
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from resnest_edge.camera.base import Sink
from resnest_edge.camera.sinks.tally import Counting
from resnest_edge.camera.uri import without_password
from resnest_edge.errors import ResnestEdgeError, UnavailableError, UsageError

KINDS = ("live", "jsonl", "video", "mjpeg", "webhook")
_VIDEO = re.compile(r"(?P<path>.+\.mp4)(?:\?fps=(?P<fps>[0-9]{1,4}(?:\.[0-9]{1,6})?))?", re.DOTALL | re.IGNORECASE)


def open_sink(text: str, *, labels: Sequence[str]) -> Sink:
    """Open one sink; files are made, addresses listened on, threads started.

    Args:
        text: see the module.
        labels: class names, in class order.

    Raises:
        UsageError: not a sink, or one that lacks what it needs.
        OutputError: the file exists or cannot be written, or the address cannot be listened on.
        UnavailableError: the library it needs is not installed.
    """
    kind, _, rest = text.partition(":")
    if text == "live":
        from resnest_edge.camera.sinks.live import LiveView

        return LiveView()
    if kind == "jsonl" and rest:
        from resnest_edge.camera.sinks.jsonl import JsonLines

        return JsonLines(rest)
    if kind == "video" and (found := _VIDEO.fullmatch(rest)):
        fps = float(found["fps"]) if found["fps"] else None
        if fps == 0.0:
            raise UsageError(f"{text!r}: fps is above 0")
        sink: Sink = _need("video", "PyAV, which encodes video,").AnnotatedVideo(Path(found["path"]), fps)
        return sink
    if kind == "mjpeg":
        mjpeg = _need("mjpeg", "prometheus_client, which the page needs for its metrics,")
        page: Sink = mjpeg.MjpegPage(mjpeg.PageOptions.parse(rest), labels)
        return page
    if kind == "webhook" and rest:
        from resnest_edge.camera.sinks.webhook import Webhook

        return Webhook(rest)
    hint = "Use live, jsonl:PATH, jsonl:-, video:PATH.mp4, mjpeg:PORT, mjpeg:HOST:PORT or webhook:URL."
    raise UsageError(f"{without_password(text)!r} is not a sink", hint=hint)


def open_sinks(
    texts: Sequence[str], *, labels: Sequence[str], tell: Callable[[str], None] = lambda _: None
) -> tuple[Sink, ...]:
    """Open every ``--sink`` of a run; viewers then show the counters of the others as well.

    Args:
        texts: see the module.
        labels: class names, in class order.
        tell: told where a page is.

    Raises:
        UsageError: one is given twice, or see :func:`open_sink`; whatever was opened is closed again.
        OutputError, UnavailableError: see :func:`open_sink`; likewise.
    """
    if doubled := sorted({text for text in texts if texts.count(text) > 1}):
        raise UsageError(f"the sink {without_password(doubled[0])!r} is given twice")
    sinks: list[Sink] = []
    try:
        for text in texts:
            sinks.append(open_sink(text, labels=labels))  # noqa: PERF401 - those opened are closed if one fails
    except ResnestEdgeError:
        for sink in sinks:
            sink.close()
        raise
    counting = [sink for sink in sinks if isinstance(sink, Counting)]
    for sink in sinks:
        if (watch := getattr(sink, "watch", None)) is not None:
            watch(counting)
        if (url := getattr(sink, "url", None)) is not None:
            tell(f"the page is at {url}")
    return tuple(sinks)


def _need(module: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(f"resnest_edge.camera.sinks.{module}")
    except ModuleNotFoundError as exc:
        raise UnavailableError(
            f"{what} is not installed", hint="Install it with: pip install 'resnest-edge[camera]'."
        ) from exc
