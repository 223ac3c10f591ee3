"""`resnest-edge run`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from resnest_edge.cli import options
from resnest_edge.cli.console import note, number, print_json, print_table, warn
from resnest_edge.errors import UsageError
from resnest_edge.spec import MOST_BATCH

if TYPE_CHECKING:
    from resnest_edge.camera.stream import Stream
    from resnest_edge.camera.summary import Summary

ANSWERS = "Answers"
PATIENCE = "Patience"
LIMITS = "Limits"


def command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The engine; SIGHUP reads it again.")],
    source: Annotated[
        list[str],
        typer.Option(
            "--source",
            metavar="[NAME=]URI",
            help="A video, picture, folder or list; rtsp://, http://, v4l2:///dev/video0, csi://0; demo:. "
            "May be given several times.",
        ),
    ],
    sink: Annotated[
        list[str] | None,
        typer.Option(
            "--sink",
            metavar="URI",
            help="live, jsonl:PATH or jsonl:-, video:PATH.mp4, mjpeg:HOST:PORT, webhook:URL; may be given several "
            "times. (default: live on a terminal, else jsonl:-)",
        ),
    ] = None,
    top_k: Annotated[
        int,
        typer.Option(
            "--top-k", min=1, max=options.MOST_CLASSES, help="Classes of one answer at most.", rich_help_panel=ANSWERS
        ),
    ] = 1,
    threshold: Annotated[
        float,
        typer.Option("--threshold", min=0.0, max=1.0, help="Least probability named.", rich_help_panel=ANSWERS),
    ] = 0.0,
    smoothing: Annotated[
        float,
        typer.Option(
            "--smoothing", min=0.0, max=1.0, help="Weight of a source's past, below 1.", rich_help_panel=ANSWERS
        ),
    ] = 0.0,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", min=1, max=MOST_BATCH, help="Frames per inference at most. (default: one for each source)"
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=4096, help="CPU threads of the engine. (default: every core)")
    ] = None,
    window: Annotated[
        float,
        typer.Option(
            "--window", metavar="MS", min=0.0, max=60_000.0, help="Milliseconds that a frame may wait for company."
        ),
    ] = 2.0,
    queue: Annotated[
        int,
        typer.Option(
            "--queue", min=1, max=100_000, help="Frames of a source that may wait; a camera then drops its oldest."
        ),
    ] = 4,
    stall: Annotated[
        float,
        typer.Option(
            "--stall-timeout",
            metavar="SECONDS",
            min=0.1,
            max=86_400.0,
            help="Time without a picture after which a source is opened again.",
            rich_help_panel=PATIENCE,
        ),
    ] = 10.0,
    retries: Annotated[
        int | None,
        typer.Option(
            "--retries",
            min=0,
            max=1_000_000,
            help="Failed attempts in a row after which a camera is given up. (default: no limit)",
            rich_help_panel=PATIENCE,
        ),
    ] = None,
    backoff: Annotated[
        float,
        typer.Option(
            "--backoff",
            metavar="SECONDS",
            min=0.01,
            max=86_400.0,
            help="Time before the first new attempt; it doubles, up to 30.",
            rich_help_panel=PATIENCE,
        ),
    ] = 0.5,
    stop_on_sink_error: Annotated[
        bool,
        typer.Option("--stop-on-sink-error", help="End when a sink cannot take a result.", rich_help_panel=LIMITS),
    ] = False,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, max=10**12, help="Frames of each source.", rich_help_panel=LIMITS)
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            "--duration", metavar="SECONDS", min=0.01, max=10**9, help="Length of the run.", rich_help_panel=LIMITS
        ),
    ] = None,
    trust: options.Trust = None,
    json: options.Json = False,
) -> None:
    """Classify what cameras, videos and folders show, with one engine for all of them.

    SIGINT and SIGTERM end the run when the frames captured so far are answered; SIGHUP loads the bundle again.

    Example:

    $ resnest-edge run engines/cam --source door=rtsp://camera/stream1 --sink mjpeg:8080 --sink jsonl:answers.jsonl
    """
    from resnest_edge.camera.capture import CapturePolicy
    from resnest_edge.camera.stream import StreamOptions
    from resnest_edge.pipeline.cameras import CameraRequest, open_stream

    policy = CapturePolicy(stall=stall, retries=retries, backoff=backoff, most=max(30.0, backoff), frames=frames)
    request = CameraRequest(
        bundle=bundle,
        sources=tuple(source),
        sinks=_sinks(sink, json=json),
        top_k=top_k,
        threshold=threshold,
        smoothing=smoothing,
        batch=batch,
        threads=threads,
        trust=trust,
        options=StreamOptions(
            queue=queue, window_ms=window, capture=policy, duration=duration, strict_sinks=stop_on_sink_error
        ),
    )
    stream = open_stream(request, tell=note)
    with _signals(stream, bundle):
        summary = stream.run()
    if json:
        print_json({"bundle": str(bundle), **summary.to_json()})
    elif "jsonl:-" not in request.sinks:  # stdout is theirs
        _print_summary(summary)
    if summary.error is not None:
        raise summary.error


def _sinks(given: list[str] | None, *, json: bool) -> tuple[str, ...]:
    if json and "jsonl:-" in (given or ()):
        raise UsageError("--json and --sink jsonl:- would both write to stdout", hint="Use one of them.")
    if given or json:
        return tuple(given or ())
    return ("live",) if sys.stdout.isatty() and sys.stderr.isatty() else ("jsonl:-",)


@contextmanager
def _signals(stream: Stream, bundle: Path) -> Iterator[None]:
    """Turn signals into commands to the stream; a second SIGINT or SIGTERM waits for nothing."""
    on_terminal, asked = os.isatty(0), False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal asked
        closed = on_terminal and not os.isatty(0)  # SIGHUP also says that the terminal was closed
        if number == signal.SIGHUP and not closed:
            stream.swap_soon(bundle)
        elif asked:
            raise KeyboardInterrupt
        else:
            asked = True
            stream.stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_summary(summary: Summary) -> None:
    columns = ("Source", "State", "Captured", "Inferred", "Dropped", "Failed", "Reconnects", "Corrupt")
    rows = [
        (name, *map(str, (c.state, c.captured, c.inferred, c.dropped, c.failed, c.reconnects, c.corrupt)))
        for name, c in summary.sources.items()
    ]
    stages = [f"{stage} {number(values['p50'])}" for stage, values in summary.latency_ms.items()]
    caption = f"Median milliseconds: {', '.join(stages)}." if stages else None
    print_table(f"{number(summary.seconds, 1)} s", columns, rows, caption=caption)
    for sink in summary.sinks:
        if sink.failed:
            warn(f"{sink.name} took {sink.written} results and lost {sink.failed}")
