"""A page with a live view of every source, and what a monitor asks for: metrics and health."""

from __future__ import annotations

import ipaddress
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from resnest_edge.camera.base import CameraResult, SourceCounts
from resnest_edge.camera.sinks.failures import sink_error
from resnest_edge.camera.sinks.metrics import Metrics
from resnest_edge.camera.sinks.page_server import PageServer
from resnest_edge.camera.sinks.slots import Slot
from resnest_edge.camera.sinks.tally import Counting, Tally
from resnest_edge.errors import UsageError

HOST, PORT = "127.0.0.1", 8080
_ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+):)?(?P<port>[0-9]{1,5})?", re.ASCII)
_PATIENCE_S = 10.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PageOptions:
    """What a page shows and to whom.

    Attributes:
        host: address to listen on; loopback unless the user says otherwise, as there is no password.
        port: 0 takes any free one.
        fps: most pictures a second to each viewer.
        width: pixels that pictures are shrunk to.
        quality: of JPEG, 1 to 95.
    """

    host: str = HOST
    port: int = PORT
    fps: float = 10.0
    width: int = 640
    quality: int = 80

    @property
    def local(self) -> bool:
        """Whether only this machine can look."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @classmethod
    def parse(cls, text: str) -> PageOptions:
        """Read ``[HOST:]PORT`` or nothing.

        Raises:
            UsageError: neither of the two.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found["port"] or 0) > 65535:
            raise UsageError(
                f"mjpeg:{text} names no address", hint="For example mjpeg:8080, or mjpeg:0.0.0.0:8080 for all to see."
            )
        return cls(host=(found["host"] or HOST).strip("[]"), port=int(found["port"] or PORT))


class MjpegPage:
    """Serves the page from threads of its own. A result costs the stream a dictionary entry; nobody is waited for.

    Args:
        options: where, and how much.
        labels: class names, in class order.

    Raises:
        OutputError: the address cannot be listened on.
    """

    def __init__(self, options: PageOptions, labels: Sequence[str]) -> None:
        self._options, self._labels = options, tuple(labels)
        self._tally = Tally()
        self._metrics = Metrics(self._tally)
        self._slots: dict[str, Slot] = {}
        self._began = perf_counter()
        self._closing = threading.Event()
        try:
            self._server = PageServer(self, (options.host, options.port))
        except OSError as exc:
            raise sink_error(f"mjpeg:{options.host}:{options.port}", exc.errno, exc.strerror) from exc
        host = f"[{options.host}]" if ":" in options.host else options.host
        self.url = f"http://{host}:{self._server.server_address[1]}/"
        self.name = f"mjpeg at {self.url}"
        if not options.local:
            _LOG.warning("%s is open to everybody who can reach this machine: there is no password", self.url)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name=self.name, daemon=True)
        self._thread.start()

    @property
    def options(self) -> PageOptions:
        """Where the page is, and how much it shows."""
        return self._options

    @property
    def closing(self) -> bool:
        """Whether viewers are to go."""
        return self._closing.is_set()

    def rest(self, seconds: float) -> None:
        """Sleep, or less when the page closes."""
        self._closing.wait(seconds)

    def watch(self, peers: Sequence[Counting]) -> None:
        """Show these sinks' counters as well."""
        self._tally.watch(peers)

    def write(self, result: CameraResult) -> None:
        """Put the result where viewers look."""
        self._tally.add(result)
        self._metrics.add(result)
        slot = self._slots.get(result.frame.source)
        if slot is None:
            slot = self._slots[result.frame.source] = Slot(self._options.width, self._options.quality)
        slot.put(result)

    def status(self, counts: Mapping[str, SourceCounts]) -> None:
        """Put the accounts where viewers look."""
        self._tally.status(counts)

    def close(self) -> None:
        """Send viewers away and free the port."""
        if self._closing.is_set():
            return
        self._closing.set()
        for slot in list(self._slots.values()):
            slot.wake()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def slot(self, source: str) -> Slot | None:
        """A source's newest frame, if there is one."""
        return self._slots.get(source)

    def status_json(self) -> dict[str, Any]:
        """What the page shows; the keys are its own business."""
        return {
            "uptime_s": round(perf_counter() - self._began, 1),
            "classes": len(self._labels),
            "troubles": self.troubles(),
            "sources": {name: view.to_json() for name, view in self._tally.views().items()},
            "sinks": self._tally.counters(),
        }

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """Text for Prometheus, and its content type."""
        return self._metrics.exposition(accept)

    def troubles(self) -> list[str]:
        """What is wrong now; nothing when all is well."""
        return self._tally.troubles(_PATIENCE_S)
