"""The bounded queues between the sources and the engine: where live frames give way and files wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from time import perf_counter

from resnest_edge.camera.account import Account
from resnest_edge.camera.base import Frame


class Intake:
    """One queue a source, filled by the sources' threads and emptied by one batcher.

    Args:
        names: the sources; the intake is drained when each has ended and no frame waits.
        length: frames of a live source that may wait; one more, and the oldest gives way.
        room: frames of a file that may wait; one more has to wait outside.
        account: told of every frame captured, dropped and failed.
    """

    def __init__(self, names: Sequence[str], *, length: int, room: int, account: Account) -> None:
        self._length, self._room, self._account = length, room, account
        self._queues: dict[str, deque[Frame]] = {name: deque() for name in names}
        self._open = set(names)
        self._order = list(names)
        self._waiting = 0
        lock = threading.Lock()
        self._filled, self._space = threading.Condition(lock), threading.Condition(lock)

    def put(self, frame: Frame, *, live: bool) -> bool:
        """Count a captured frame and queue it; a file's thread waits here until there is room.

        Returns:
            False when this source was ended, and the frame is neither counted nor taken.
        """
        queue = self._queues[frame.source]
        with self._filled:
            if frame.source not in self._open:
                return False
            self._account.count(frame.source, "captured")
            if live and len(queue) >= self._length:
                queue.popleft()
                self._waiting -= 1
                self._account.count(frame.source, "dropped")
            elif not live:
                self._space.wait_for(lambda: len(queue) < self._room or frame.source not in self._open)
            if frame.source not in self._open:  # ended while it waited
                self._account.count(frame.source, "failed")
                return False
            queue.append(frame)
            self._waiting += 1
            self._filled.notify()
        return True

    def take(self, most: int, window: float) -> list[Frame]:
        """Wait for frames and take up to ``most``, the oldest of each source first and the sources in turn.

        Args:
            most: frames at most.
            window: seconds after its capture that a frame may wait for company, while a source has none to give.

        Returns:
            At least one frame; none when every source has ended and nothing waits.
        """
        with self._filled:
            self._filled.wait_for(lambda: self._waiting or not self._open)
            if self._waiting:
                self._wait_for_company(most, window)
            frames = self._collect(most)
            self._waiting -= len(frames)
            self._space.notify_all()
            return frames

    def end(self, source: str) -> None:
        """Take no more from a source; what waits is still handed out. A second call does nothing."""
        with self._filled:
            self._open.discard(source)
            self._filled.notify_all()
            self._space.notify_all()

    def abandon(self) -> None:
        """End every source and count what waits as failed: nobody will take it."""
        with self._filled:
            self._open.clear()
            for name, queue in self._queues.items():
                self._account.count(name, "failed", len(queue))
                queue.clear()
            self._waiting = 0
            self._filled.notify_all()
            self._space.notify_all()

    def _wait_for_company(self, most: int, window: float) -> None:
        """Not when each source has a frame here: another of the same camera is a whole frame time away."""
        deadline = min(queue[0].captured for queue in self._queues.values() if queue) + window
        while self._waiting < most and any(not self._queues[name] for name in self._open):
            left = deadline - perf_counter()
            if left <= 0 or not self._filled.wait(left):
                return

    def _collect(self, most: int) -> list[Frame]:
        frames: list[Frame] = []
        while len(frames) < most:
            ready = [name for name in self._order if self._queues[name]]
            if not ready:
                break
            for name in ready[: most - len(frames)]:
                frames.append(self._queues[name].popleft())
                self._order.remove(name)  # to the end of the line
                self._order.append(name)
        return frames
