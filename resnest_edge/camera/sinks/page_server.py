"""The HTTP side of the page: GET only, a thread a client, and patience with none of them.

A page on loopback is not a page for every website that the user's browser visits: requests under a foreign host name
are refused (DNS rebinding), and answers may not be embedded elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from resnest_edge.camera.sinks.mjpeg import MjpegPage
    from resnest_edge.camera.sinks.slots import Slot

_STUCK_S = 10.0
"""Seconds after which a client that neither asks nor takes is sent away."""

_MOST_CLIENTS = 64
_BOUNDARY = "frame"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self'; "
    "style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = resources.files("resnest_edge.camera.sinks") / "page"
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class PageServer(ThreadingHTTPServer):
    """Listens; above a bound of clients it closes new connections unanswered."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, page: MjpegPage, address: tuple[str, int]) -> None:
        self.page = page
        self._room = threading.BoundedSemaphore(_MOST_CLIENTS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, PageHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing to tell: clients come and go, and what they ask for is answered in the handler."""


class PageHandler(BaseHTTPRequestHandler):
    """Answers one client."""

    server: PageServer
    timeout = _STUCK_S
    server_version = "resnest-edge"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one request."""
        path = unquote(urlsplit(self.path).path)
        if not self._may_ask():
            self._send(HTTPStatus.FORBIDDEN, "text/plain; charset=utf-8", b"This page is for its own machine alone.\n")
        elif path in _FILES:
            name, kind = _FILES[path]
            self._send(HTTPStatus.OK, kind, _PAGE.joinpath(name).read_bytes())
        elif path == "/status.json":
            self._send(HTTPStatus.OK, "application/json", json.dumps(self.server.page.status_json()).encode())
        elif path == "/metrics":
            text, kind = self.server.page.metrics(self.headers.get("Accept", ""))
            self._send(HTTPStatus.OK, kind, text)
        elif path == "/healthz":
            self._health()
        elif path.startswith("/stream/") and (slot := self.server.page.slot(path.removeprefix("/stream/"))):
            self._stream(slot)
        elif path.startswith("/snapshot/") and (slot := self.server.page.slot(path.removeprefix("/snapshot/"))):
            self._send(HTTPStatus.OK, "image/jpeg", slot.jpeg()[1])
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"There is nothing here.\n")

    do_HEAD = do_GET  # noqa: N815 - the name that the base calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Nothing: stderr is the run's."""

    def end_headers(self) -> None:
        """Add what every answer carries."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def _health(self) -> None:
        troubles = self.server.page.troubles()
        status = HTTPStatus.SERVICE_UNAVAILABLE if troubles else HTTPStatus.OK
        self._send(status, "text/plain; charset=utf-8", ("\n".join(troubles or ["ok"]) + "\n").encode())

    def _stream(self, slot: Slot) -> None:
        """Send picture after picture, none faster than the viewer takes them: what it misses, it misses."""
        page, pause, seen = self.server.page, 1.0 / self.server.page.options.fps, 0
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.end_headers()
        if self.command == "HEAD":
            return
        # a small buffer, so that a slow viewer sees a late picture and not a queue of old ones
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
        # each picture is followed by the boundary of the next: a browser draws when it sees that
        with contextlib.suppress(OSError):
            self.wfile.write(f"--{_BOUNDARY}\r\n".encode())
            while not page.closing:
                if not slot.newer(seen, timeout=1.0):
                    if self._left():
                        return
                    continue
                sent = perf_counter()
                seen, jpeg = slot.jpeg()
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + f"\r\n--{_BOUNDARY}\r\n".encode())
                if (rest := sent + pause - perf_counter()) > 0:
                    page.rest(rest)

    def _left(self) -> bool:
        """Whether the viewer has hung up, which only a write would tell, and an ended source has nothing to write."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def _may_ask(self) -> bool:
        """On loopback, only under loopback's own names."""
        if not self.server.page.options.local:
            return True
        try:
            asked = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        except ValueError:
            return False
        return asked in _LOCAL_NAMES or asked == self.server.page.options.host
