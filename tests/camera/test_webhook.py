"""The webhook against a server on loopback that takes, fails, hangs, refuses, dies and recovers."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.camera.sinks.webhook import Patience, Webhook
from resnest_edge.errors import UsageError
from tests.support.results import result

QUICK = Patience(timeout_s=0.3, first_s=0.01, longest_s=0.05, drain_s=5.0)


class Server(ThreadingHTTPServer):
    """Answers each post as ``behave`` says: a status, or None to hang until the test ends."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.taken: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.posts = 0
        self.ended = threading.Event()
        self.behave: Callable[[int], int | None] = lambda post: 200
        self.extra: dict[str, str] = {}
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/answers?key=secret"

    def frames(self) -> list[int]:
        return [item["frame_id"] for item in self.taken]

    def end(self) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.posts += 1
        status = server.behave(server.posts)
        if status is None:
            server.ended.wait(30)
            self.close_connection = True
            return
        if status == 200:
            server.headers.append({**dict(self.headers), "path": self.path})
            server.taken.append(json.loads(body))
        self.send_response(status)
        for name, value in server.extra.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.end()


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.01)


def test_results_arrive_in_order_and_whole(server: Server) -> None:
    hook = Webhook(server.url, QUICK)
    for index in range(20):
        hook.write(result(index, "grey whale"))
    hook.close()
    hook.close()
    assert server.frames() == list(range(20))
    assert server.taken[0]["answers"] == [{"index": 2, "label": "grey whale", "probability": 0.75}]
    assert server.headers[0]["path"] == "/answers?key=secret"
    assert server.headers[0]["Content-Type"] == "application/json" and "Authorization" not in server.headers[0]
    assert hook.counters() == {"delivered": 20, "dropped": 0, "queued": 0}


def test_a_failing_server_is_tried_again_until_it_recovers(server: Server) -> None:
    server.behave = lambda post: (503, 500, 429, 200)[min(post, 4) - 1]
    hook = Webhook(server.url, QUICK)
    for index in range(5):
        hook.write(result(index))
    until(lambda: hook.counters()["delivered"] == 5)
    hook.close()
    assert server.frames() == [0, 1, 2, 3, 4] and server.posts == 8


def test_a_hanging_server_holds_up_nobody_and_its_results_come_later(server: Server) -> None:
    server.behave = lambda post: None if post == 1 else 200
    hook, began = Webhook(server.url, QUICK), time.monotonic()
    for index in range(50):
        hook.write(result(index))
    assert hook.counters()["queued"] == 50, "somebody waited for the server"
    assert time.monotonic() - began < 20
    until(lambda: hook.counters()["delivered"] == 50)
    hook.close()
    assert server.frames() == list(range(50))


def test_a_server_that_comes_back_gets_what_was_queued() -> None:
    first = Server()
    port = int(first.server_address[1])
    hook = Webhook(first.url, Patience(timeout_s=0.3, first_s=0.02, longest_s=0.05, attempts=1000))
    hook.write(result(0))
    until(lambda: hook.counters()["delivered"] == 1)
    first.end()
    first.behave = lambda post: None
    for index in range(1, 6):
        hook.write(result(index))
    time.sleep(0.2)
    assert hook.counters()["delivered"] <= 1
    second = Server(port)
    until(lambda: hook.counters()["queued"] == 0)
    hook.close()
    assert second.frames() == [1, 2, 3, 4, 5]
    second.end()


def test_a_refusal_is_not_tried_again(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.behave = lambda post: 404 if post == 2 else 302 if post == 3 else 200
    hook = Webhook(server.url, QUICK)
    for index in range(4):
        hook.write(result(index))
    hook.close()
    assert server.frames() == [0, 3] and server.posts == 4
    assert hook.counters() == {"delivered": 2, "dropped": 2, "queued": 0}
    assert "2 dropped" in caplog.text and "status 302" in caplog.text
    assert "secret" not in caplog.text  # the path and query may be a key


def test_a_full_queue_drops_the_oldest_and_tells(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.behave = lambda post: None
    hook = Webhook(server.url, Patience(queue=10, timeout_s=0.2, first_s=0.01, longest_s=0.02, drain_s=3.0))
    hook.write(result(0))
    until(lambda: server.posts == 1)
    for index in range(1, 31):
        hook.write(result(index))
    assert hook.counters() == {"delivered": 0, "dropped": 20, "queued": 11}
    hook.status({})
    hook.status({})
    assert [record.levelno for record in caplog.records] == [logging.WARNING]  # told once in ten seconds
    assert "20 dropped, 11 queued" in caplog.text
    server.behave = lambda post: 200
    hook.close()
    assert server.frames() == [0, *range(21, 31)]


def test_attempts_are_bounded(server: Server) -> None:
    server.behave = lambda post: 500 if post <= 3 else 200
    hook = Webhook(server.url, Patience(attempts=3, timeout_s=1, first_s=0.001, longest_s=0.002))
    hook.write(result(0))
    hook.write(result(1))
    hook.close()
    assert server.frames() == [1] and hook.counters() == {"delivered": 1, "dropped": 1, "queued": 0}


def test_the_pause_that_a_server_asks_for_is_kept(server: Server) -> None:
    times: list[float] = []
    server.extra = {"Retry-After": "1"}

    def behave(post: int) -> int:
        times.append(time.monotonic())
        return 503 if post == 1 else 200

    server.behave = behave
    hook = Webhook(server.url, Patience(first_s=0.001, longest_s=0.3))
    hook.write(result(0))
    until(lambda: len(times) == 2)
    hook.close()
    assert times[1] - times[0] >= 0.3  # bounded by the longest pause


def test_the_end_is_bounded_and_everything_is_accounted_for(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.behave = lambda post: None
    hook = Webhook(server.url, Patience(timeout_s=0.2, first_s=0.01, longest_s=0.02, drain_s=0.3))
    for index in range(40):
        hook.write(result(index))
    hook.close()
    hook.write(result(99))  # too late, and counted
    assert hook.counters() == {"delivered": 0, "dropped": 41, "queued": 0}
    assert "40 dropped" in caplog.text
    assert not hook._thread.is_alive()


def test_a_server_that_answers_a_byte_at_a_time_is_not_waited_for(server: Server) -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        client, _ = listening.accept()
        with client, contextlib.suppress(OSError):
            while not server.ended.wait(0.05):
                client.sendall(b"H")

    threading.Thread(target=drip, daemon=True).start()
    hook = Webhook(f"http://127.0.0.1:{listening.getsockname()[1]}/", Patience(timeout_s=0.2, drain_s=0.1))
    for index in range(3):
        hook.write(result(index))
    hook.close()
    assert hook.counters() == {"delivered": 0, "dropped": 3, "queued": 0}
    server.ended.set()
    hook._thread.join(20)
    assert hook.counters() == {"delivered": 0, "dropped": 3, "queued": 0}  # and nothing is counted twice
    listening.close()


def test_user_and_password_become_a_header_and_stay_unseen(server: Server) -> None:
    hook = Webhook(server.url.replace("127", "me:p%40ss@127"), QUICK)
    hook.write(result(0))
    hook.close()
    assert server.headers[0]["Authorization"] == f"Basic {base64.b64encode(b'me:p@ss').decode()}"
    assert hook.name == f"webhook:http://127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize("url", ["ftp://a/b", "http://", "//a", "http://a:99999/", "http://a b/", "http://a/\r\n", "é"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(UsageError, match="is not a URL"):
        Webhook(url)


def test_a_password_is_not_shown_in_the_error() -> None:
    with pytest.raises(UsageError) as error:
        Webhook("ftp://me:hidden@host/")
    assert "hidden" not in str(error.value)


@given(st.integers(1, 60))
def test_pauses_grow_to_their_bound_and_vary(failures: int) -> None:
    patience = Patience(first_s=0.5, longest_s=30.0)
    pauses = {patience.pause_s(failures) for _ in range(20)}
    assert all(0.0 <= pause <= min(30.0, 0.5 * 2 ** (failures - 1)) for pause in pauses)
    assert len(pauses) > 1
