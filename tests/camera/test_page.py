"""The page over loopback: pictures, metrics, health; clients that hang or lie; and the stream that waits for none."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from io import BytesIO
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from resnest_edge.camera.base import SourceState
from resnest_edge.camera.sinks.jsonl import JsonLines
from resnest_edge.camera.sinks.mjpeg import MjpegPage, PageOptions
from resnest_edge.errors import OutputError, UsageError
from tests.support.results import LABELS, counts, plain, result
from tests.support.video import read_stamp


@pytest.fixture
def page() -> Iterator[MjpegPage]:
    opened = MjpegPage(PageOptions(port=0, fps=200.0), LABELS)
    yield opened
    opened.close()


def ask(page: MjpegPage, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    address = urlsplit(page.url)
    with closing(HTTPConnection(address.hostname or "", address.port, timeout=10)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response, response.read()


def at(page: MjpegPage) -> tuple[str, int]:
    address = urlsplit(page.url)
    return address.hostname or "", address.port or 0


def next_picture(response: HTTPResponse) -> tuple[bytes, bytes]:
    """Headers and JPEG of the next part of a multipart stream."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += response.fp.readline()
    length = int(dict(line.split(b": ") for line in head.strip().split(b"\r\n") if b": " in line)[b"Content-Length"])
    body = response.fp.read(length)
    response.fp.read(2)
    return head, body


def picture(jpeg: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(BytesIO(jpeg)))


def metrics(page: MjpegPage) -> dict[tuple[str, ...], float]:
    response, body = ask(page, "/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_the_stream_gives_the_newest_picture_with_its_label(page: MjpegPage) -> None:
    page.write(result(3, width=320, height=320))
    address = urlsplit(page.url)
    with closing(HTTPConnection(address.hostname or "", address.port, timeout=10)) as connection:
        connection.request("GET", "/stream/door")
        response = connection.getresponse()
        assert response.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
        assert response.fp.readline() == b"--frame\r\n"
        for number in (3, 9, 700):
            if number != 3:
                page.write(result(number, width=320, height=320))
            _, jpeg = next_picture(response)
            assert response.fp.readline() == b"--frame\r\n"  # at once: only then a browser draws the picture
            shown = picture(jpeg)
            assert shown.shape == (320, 320, 3)
            assert read_stamp(shown) & 0x0FFF == number  # the words cover the top row of blocks
        page.close()
        assert response.fp.read() == b""  # closing the page ends the stream


def test_a_snapshot_says_what_was_answered(page: MjpegPage) -> None:
    drawn = {}
    for label in ("cat", "grey whale", ""):
        page.write(result(0, label, width=320, height=240))
        response, body = ask(page, "/snapshot/door")
        assert response.headers["Content-Type"] == "image/jpeg"
        drawn[label] = picture(body).astype(int)
    assert np.abs(drawn["cat"] - drawn["grey whale"]).max() > 100
    assert np.abs(drawn["cat"] - drawn[""]).max() > 100
    assert ask(page, "/snapshot/door")[1] == body  # the same picture is encoded once


def test_large_pictures_are_shrunk(page: MjpegPage) -> None:
    page.write(plain(0, 90, "cat", width=1920, height=1080))
    assert picture(ask(page, "/snapshot/door")[1]).shape == (360, 640, 3)


def test_metrics_are_what_was_counted(page: MjpegPage) -> None:
    peer = JsonLines("-")
    page.watch([peer])
    for index in range(4):
        page.write(result(index, "dog" if index else "cat"))
    page.write(result(9, ""))
    page.status({"door": counts(captured=12, inferred=5, dropped=6, failed=1, reconnects=2, corrupt=3)})
    found = metrics(page)
    for name, value in (("captured", 12), ("inferred", 5), ("dropped", 6), ("failed", 1)):
        assert found[f"resnest_edge_frames_{name}_total", "source=door"] == value
    assert found["resnest_edge_reconnects_total", "source=door"] == 2
    assert found["resnest_edge_corrupt_packets_total", "source=door"] == 3
    assert found["resnest_edge_source_state", "source=door", "state=streaming"] == 1
    assert found["resnest_edge_source_state", "source=door", "state=stalled"] == 0
    assert found["resnest_edge_bundle_info", "bundle=engines/cam", "source=door"] == 1
    assert found["resnest_edge_answers_total", "label=dog", "source=door"] == 3
    assert found["resnest_edge_answers_total", "label=cat", "source=door"] == 1
    assert found["resnest_edge_latency_seconds_count", "source=door", "stage=total"] == 5
    # totals of result() are 8 ms and the frame id: 8, 9, 10, 11 and 17
    assert found["resnest_edge_latency_seconds_sum", "source=door", "stage=total"] == pytest.approx(0.055)
    assert found["resnest_edge_latency_seconds_bucket", "le=0.01", "source=door", "stage=total"] == 3
    assert found["resnest_edge_sink_results_total", "outcome=written", "sink=jsonl:-"] == 0


def test_metrics_speak_openmetrics_when_asked(page: MjpegPage) -> None:
    response, body = ask(page, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_health_follows_the_sources(page: MjpegPage) -> None:
    assert ask(page, "/healthz")[0].status == 503  # the run has not begun
    page.status({"door": counts(), "yard": counts(SourceState.ENDED)})
    assert (ask(page, "/healthz")[0].status, ask(page, "/healthz")[1]) == (200, b"ok\n")
    page.status({"door": counts(), "yard": counts(SourceState.RECONNECTING)})
    response, body = ask(page, "/healthz")
    assert (response.status, body) == (503, b"source yard is reconnecting\n")


def test_status_is_what_the_page_draws(page: MjpegPage) -> None:
    page.write(result(5, "dog"))
    page.status({"door": counts(captured=6, inferred=5), "yard": counts(SourceState.CONNECTING)})
    status = json.loads(ask(page, "/status.json")[1])
    assert status["sources"]["door"]["last"]["answers"][0]["label"] == "dog"
    assert status["sources"]["door"]["counts"]["captured"] == 6
    assert status["sources"]["yard"]["last"] is None
    assert status["classes"] == 3 and status["troubles"] == []


@pytest.mark.parametrize("path", ["/nothing", "/stream/nobody", "/snapshot/", "/../pyproject.toml", "/page/page.js"])
def test_what_is_not_there(page: MjpegPage, path: str) -> None:
    assert ask(page, path)[0].status == 404


def test_foreign_names_and_methods_are_refused(page: MjpegPage) -> None:
    page.write(result(0))
    for path in ("/", "/snapshot/door", "/status.json", "/metrics"):
        assert ask(page, path, Host="evil.example:8080")[0].status == 403
        assert ask(page, path, Host="localhost:8080")[0].status == 200
    assert ask(page, "/", "POST")[0].status == 501
    response, body = ask(page, "/", "HEAD")
    assert response.status == 200 and body == b""
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_stuck_clients_do_not_slow_the_stream(page: MjpegPage) -> None:
    big = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    item = plain(0, 0, "cat", width=640, height=480)
    item.frame.image[:] = big
    page.write(item)
    address = at(page)
    clients = []
    for request in (b"GET /stream/door HTTP/1.0\r\nHost: localhost\r\n\r\n", b"GET /st"):
        for _ in range(4):
            client = socket.create_connection(address)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(request)
            clients.append(client)
    time.sleep(0.5)  # long enough for the pictures to fill every buffer
    done = threading.Event()

    def stream() -> None:
        for _ in range(300):
            page.write(item)
        done.set()

    threading.Thread(target=stream, daemon=True).start()
    assert done.wait(20), "write() waited for a client"
    assert ask(page, "/healthz")[0].status == 503  # others are still answered
    page.close()  # and so is the end
    for client in clients:
        client.close()


def test_too_many_clients_are_turned_away(page: MjpegPage) -> None:
    address = at(page)
    clients = [socket.create_connection(address) for _ in range(64)]
    time.sleep(0.5)
    with closing(socket.create_connection(address, timeout=5)) as one_more:
        assert one_more.recv(10) == b""
    for client in clients:
        client.close()


def test_viewers_of_an_ended_source_are_noticed_to_leave(page: MjpegPage) -> None:
    page.write(result(0))  # and never again
    for _ in range(70):  # more than there is room for at once
        with closing(socket.create_connection(at(page), timeout=10)) as client:
            client.sendall(b"GET /stream/door HTTP/1.0\r\nHost: localhost\r\n\r\n")
            if not client.recv(12):  # turned away: those before have not been noticed yet
                time.sleep(0.1)
    for _ in range(100):
        with closing(socket.create_connection(at(page), timeout=10)) as client:
            client.sendall(b"GET /snapshot/door HTTP/1.0\r\nHost: localhost\r\n\r\n")
            if client.recv(12) == b"HTTP/1.0 200":
                break
        time.sleep(0.1)
    else:
        pytest.fail("nobody is let in any more")
    until = time.monotonic() + 20
    while any(
        thread.name.startswith("Thread-") and "process_request" in thread.name for thread in threading.enumerate()
    ):
        assert time.monotonic() < until, "threads of viewers that left are still there"
        time.sleep(0.1)


def test_a_port_in_use_is_an_output_error(page: MjpegPage) -> None:
    port = urlsplit(page.url).port
    with pytest.raises(OutputError, match=f"mjpeg:127.0.0.1:{port}.*in use"):
        MjpegPage(PageOptions(port=port or 0), LABELS)


def test_a_page_for_everybody_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    page = MjpegPage(PageOptions(host="0.0.0.0", port=0), LABELS)
    assert "no password" in caplog.text
    port = urlsplit(page.url).port
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/", headers={"Host": "camera.example"})
        assert connection.getresponse().status == 200
    page.close()
    page.close()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("", "127.0.0.1", 8080), ("9000", "127.0.0.1", 9000), ("0.0.0.0:80", "0.0.0.0", 80), ("[::1]:0", "::1", 0)],
)
def test_addresses(text: str, host: str, port: int) -> None:
    options = PageOptions.parse(text)
    assert (options.host, options.port) == (host, port)
    assert options.local == (host != "0.0.0.0")


@pytest.mark.parametrize("text", ["70000", "a b:1", "host:port", "::1:80", "//x:1", ":"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="names no address"):
        PageOptions.parse(text)
