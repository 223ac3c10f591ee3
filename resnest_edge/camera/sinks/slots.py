"""The newest frame of each source, encoded once for all who watch, and only when somebody does."""

from __future__ import annotations

import threading

from resnest_edge.camera.base import CameraResult
from resnest_edge.camera.sinks.record import to_lines
from resnest_edge.images.draw import at_most, to_jpeg, with_lines


class Slot:
    """Holds one source's newest result. The stream puts, and never waits for those who take."""

    def __init__(self, width: int, quality: int) -> None:
        self._width, self._quality = width, quality
        self._changed = threading.Condition()
        self._number = 0
        self._result: CameraResult | None = None
        self._encoding = threading.Lock()
        self._encoded, self._jpeg = 0, b""

    def put(self, result: CameraResult) -> None:
        """Replace the result."""
        with self._changed:
            self._number, self._result = self._number + 1, result
            self._changed.notify_all()

    def wake(self) -> None:
        """Make everybody who waits look up."""
        with self._changed:
            self._changed.notify_all()

    def newer(self, seen: int, timeout: float) -> bool:
        """Wait for a result after number ``seen``; False after ``timeout`` seconds or a :meth:`wake` without one."""
        with self._changed:
            if self._number <= seen:
                self._changed.wait(timeout)
            return self._number > seen

    def jpeg(self) -> tuple[int, bytes]:
        """Number and annotated picture of the newest result; number 0 and nothing where there is none."""
        with self._encoding:
            with self._changed:
                number, result = self._number, self._result
            if result is not None and number != self._encoded:
                # shrunk before it is drawn on, so that the words stay legible
                picture = with_lines(at_most(result.frame.image, self._width), to_lines(result))
                self._encoded, self._jpeg = number, to_jpeg(picture, self._quality)
            return self._encoded, self._jpeg
