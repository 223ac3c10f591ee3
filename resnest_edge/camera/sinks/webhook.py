"""Results posted to a URL, one JSON object each, by a thread of its own: the stream never waits for the network."""

from __future__ import annotations

import base64
import json
import logging
import random
import re
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from time import perf_counter
from typing import Any
from urllib.parse import unquote, urlsplit

from resnest_edge.camera.base import CameraResult, SourceCounts
from resnest_edge.camera.sinks.record import counters_words, to_json
from resnest_edge.camera.uri import without_password
from resnest_edge.errors import UsageError

_AGAIN = frozenset({408, 425, 429})
"""Answers below 500 after which trying again makes sense; of the others the server will think the same later."""

_TELL_EVERY_S = 10.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long a webhook is waited for.

    Attributes:
        queue: results that wait at most; a new one drives the oldest out.
        attempts: times one result is posted before it is given up.
        timeout_s: for the connection and for the answer.
        first_s: longest pause before the second attempt; it doubles with each.
        longest_s: longest pause of all, also of one that the server asks for.
        drain_s: for what is still queued when the run ends.
    """

    queue: int = 256
    attempts: int = 8
    timeout_s: float = 5.0
    first_s: float = 0.5
    longest_s: float = 30.0
    drain_s: float = 5.0

    def pause_s(self, failures: int) -> float:
        """A random pause up to the bound after so many failures, so that many senders do not return at once.

        "Full jitter" of Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
        """
        return random.uniform(0.0, min(self.longest_s, self.first_s * 2.0 ** (failures - 1)))  # noqa: S311


class RefusedError(Exception):
    """The server will not take this result, now or later."""


class Webhook:
    """Posts in order; counts what was ``delivered``, ``dropped`` and is ``queued``: their sum is what was written.

    A result is dropped when the queue is full and it is the oldest, when its attempts are used up, or when the server
    refuses it (a status of 300 to 499 other than 408, 425 and 429).

    Args:
        url: ``http`` or ``https``; user and password in it become basic authentication.
        patience: how long it is waited for.

    Raises:
        UsageError: not such a URL.
    """

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._post = _Poster(url, self._patience.timeout_s)
        self.name = f"webhook:{self._post.shown}"
        self._changed = threading.Condition()
        self._queue: deque[dict[str, Any]] = deque()  # without pictures: a long queue is a few kilobytes
        self._delivered = self._dropped = self._told = 0
        self._sending = 0
        self._trouble = "the queue is full"
        self._told_at = -_TELL_EVERY_S
        self._ends: float | None = None
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def write(self, result: CameraResult) -> None:
        """Queue one result; returns at once."""
        value = to_json(result)
        with self._changed:
            if self._ends is not None:
                self._dropped += 1
                return
            self._queue.append(value)
            if len(self._queue) > self._patience.queue:
                self._queue.popleft()
                self._dropped += 1
            self._changed.notify_all()

    def status(self, counts: Mapping[str, SourceCounts]) -> None:  # noqa: ARG002 - the protocol's
        """Tell of drops, at most every ten seconds."""
        if perf_counter() - self._told_at >= _TELL_EVERY_S:
            self._tell()

    def counters(self) -> Mapping[str, int]:
        """Results by what became of them."""
        with self._changed:
            waiting = len(self._queue) + self._sending
            return {"delivered": self._delivered, "dropped": self._dropped, "queued": waiting}

    def close(self) -> None:
        """Post what is queued, for at most ``drain_s`` and one attempt; the rest is dropped and told."""
        with self._changed:
            if self._ends is not None:
                return
            self._ends = perf_counter() + self._patience.drain_s
            self._changed.notify_all()
        self._thread.join(self._patience.drain_s + 3 * self._patience.timeout_s)
        with self._changed:  # a server may answer a byte at a time: it is not waited for any longer
            self._dropped += len(self._queue) + self._sending
            self._queue.clear()
            self._sending = 0
        self._tell()

    def _run(self) -> None:
        while (value := self._next()) is not None:
            delivered = self._deliver(json.dumps(value, ensure_ascii=False).encode())
            with self._changed:
                if self._sending:  # else close() did not wait for it, and has counted it
                    self._sending = 0
                    self._delivered += delivered
                    self._dropped += not delivered
        self._post.close()

    def _next(self) -> dict[str, Any] | None:
        with self._changed:
            while not self._queue and self._ends is None:
                self._changed.wait()
            if self._ends is not None and perf_counter() >= self._ends:
                self._dropped += len(self._queue)
                self._queue.clear()
            if not self._queue:
                return None
            self._sending = 1
            return self._queue.popleft()

    def _deliver(self, body: bytes) -> bool:
        for failures in range(1, self._patience.attempts + 1):
            try:
                asked = self._post(body)
            except RefusedError as exc:
                self._trouble = str(exc)
                return False
            except (OSError, HTTPException) as exc:
                self._trouble, asked = f"{type(exc).__name__}: {exc}", 0.0
            else:
                if asked is None:
                    return True
                self._trouble = "the server is busy or failing"
            pause = max(self._patience.pause_s(failures), min(asked, self._patience.longest_s))
            if failures < self._patience.attempts and not self._rest(pause):
                return False
        return False

    def _rest(self, seconds: float) -> bool:
        """Wait before the next attempt; False when the run ends before it would be due."""
        due = perf_counter() + seconds
        with self._changed:
            while self._ends is None or due < self._ends:
                if (rest := due - perf_counter()) <= 0:
                    return True
                self._changed.wait(rest)
        return False

    def _tell(self) -> None:
        counters = self.counters()
        if counters["dropped"] > self._told:
            self._told, self._told_at = counters["dropped"], perf_counter()
            _LOG.warning("%s: %s (%s)", self.name, counters_words(counters), self._trouble)


class _Poster:
    """One kept-alive connection; opened when needed, and anew after anything went wrong."""

    def __init__(self, url: str, timeout_s: float) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as exc:
            raise UsageError(f"webhook:{without_password(url)} is not a URL ({exc})") from exc
        if parts.scheme not in ("http", "https") or not host or not re.fullmatch("[!-~]+", url):
            raise UsageError(
                f"webhook:{without_password(url)} is not a URL", hint="For example webhook:https://example.com/answers."
            )
        #: where it posts to, without what may be secret: many services' webhooks have a key in their path
        self.shown = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(host, port, timeout=timeout_s)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"Content-Type": "application/json", "User-Agent": "resnest-edge"}
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"

    def __call__(self, body: bytes) -> float | None:
        """Post once: None when it was taken, else the seconds that the server asks to wait.

        Raises:
            RefusedError: the server will not take it.
            OSError, HTTPException: there was no answer.
        """
        try:
            self._connection.request("POST", self._path, body, self._headers)
            with self._connection.getresponse() as response:
                response.read(1 << 16)
                status, after = response.status, response.getheader("Retry-After", "")
                if not response.isclosed():  # more than anybody needs to say: not a connection to keep
                    self.close()
        except BaseException:
            self.close()
            raise
        if 200 <= status < 300:
            return None
        if status >= 500 or status in _AGAIN:
            return float(after) if after.isdecimal() and len(after) < 9 else 0.0
        raise RefusedError(f"the server refuses with status {status}")

    def close(self) -> None:
        self._connection.close()
