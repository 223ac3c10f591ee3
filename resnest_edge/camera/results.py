"""Camera results for Python programs: ``async for result in watch(…)``."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType

from resnest_edge.camera.base import CameraResult, Sink, SourceCounts
from resnest_edge.camera.stream import Stream
from resnest_edge.camera.summary import Summary
from resnest_edge.errors import UsageError

AHEAD = 16
"""Results that may wait for the program: beyond that files wait, and cameras drop their oldest frames."""


class _Handover:
    """A sink on the stream's thread and a queue in the event loop: bounded, so a slow reader slows the stream."""

    name = "watch"

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._results: deque[CameraResult] = deque()
        self._wake: Callable[[], object] | None = None
        self._closed = self._deaf = False

    def write(self, result: CameraResult) -> None:
        """Wait for room and hand one result over."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._results) < AHEAD or self._deaf)
            self._results.append(result)
            self._ring()

    def status(self, counts: Mapping[str, SourceCounts]) -> None:
        """Nothing: a program asks with :meth:`Watch.counts`."""

    def close(self) -> None:
        """No more will come."""
        with self._changed:
            self._closed = True
            self._ring()

    def stop_listening(self) -> None:
        """Take results from the stream and forget them: it must be able to end."""
        with self._changed:
            self._deaf = True
            self._changed.notify_all()

    async def next(self) -> CameraResult | None:
        """The next result; None at the end. For one task at a time."""
        loop = asyncio.get_running_loop()
        while True:
            with self._changed:
                if self._results:
                    self._changed.notify_all()
                    return self._results.popleft()
                if self._closed:
                    return None
                bell = asyncio.Event()
                self._wake = partial(loop.call_soon_threadsafe, bell.set)
            await bell.wait()

    def _ring(self) -> None:
        if self._wake is not None:
            self._wake()
            self._wake = None


class Watch:
    """A stream that runs while its results are read; made by :func:`resnest_edge.watch`.

    ``async for`` starts it and yields results, in order for each source; ``async with`` makes sure that it is stopped
    when the block is left early. When all was read, the error of a source or sink that failed for good is raised.

    Args:
        open_stream: makes the stream around one more sink; it is called, in a thread, when the iteration begins.
    """

    def __init__(self, open_stream: Callable[[Sink], Stream]) -> None:
        self._open, self._handover = open_stream, _Handover()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="watch")  # the loop's own threads are for short work
        self._stream: Stream | None = None
        self._ended: asyncio.Future[Summary] | None = None
        self._begun = False
        self.summary: Summary | None = None

    async def __aenter__(self) -> Watch:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[CameraResult]:
        return self._results()

    async def aclose(self) -> None:
        """Stop the stream and wait until its threads have ended; a second call does nothing."""
        if self._stream is None or self._ended is None:
            return
        self._stream.stop()
        self._handover.stop_listening()
        self.summary = await asyncio.shield(self._ended)

    async def swap(self, bundle: str | Path) -> None:
        """Let another bundle take over without losing a frame; see :meth:`Stream.swap`."""
        await asyncio.to_thread(self._running().swap, Path(bundle))

    def counts(self) -> dict[str, SourceCounts]:
        """Every source's account now."""
        return self._running().counts()

    async def _results(self) -> AsyncGenerator[CameraResult, None]:
        if self._begun:
            raise UsageError("these results are being read already", hint="Call watch() again for another run.")
        self._begun = True
        try:
            await self._start()
            while (result := await self._handover.next()) is not None:
                yield result
            await self.aclose()
            if self.summary is not None and self.summary.error is not None:
                raise self.summary.error
        finally:
            await self.aclose()
            self._thread.shutdown(wait=False)

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(self._thread, self._open, self._handover)
        try:
            self._stream = await asyncio.shield(opening)
        except asyncio.CancelledError:  # what is being opened has to be freed: it runs, and ends at once
            self._stream = await opening
            raise
        finally:
            if self._stream is not None:
                self._ended = loop.run_in_executor(self._thread, self._stream.run)

    def _running(self) -> Stream:
        if self._stream is None:
            raise UsageError("the stream has not begun", hint="Begin to read the results first.")
        return self._stream
