"""Downloads of pretrained weights, against a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request

import pytest
from resnest.torch import ablation, resnest

from resnest_edge.errors import CheckpointError, OutputError, UnavailableError, UsageError
from resnest_edge.models import pretrained
from resnest_edge.models.pretrained import cache_folder, fetch
from resnest_edge.models.variants import VARIANTS, Download, Variant, custom

BODY = bytes(range(256)) * 4096  # 1 MiB: several chunks
DIGEST = hashlib.sha256(BODY).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@dataclass
class Answer:
    """What the server does with one path."""

    body: bytes = BODY
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = len(BODY)
    stall: bool = False


class Server(ThreadingHTTPServer):
    """Answers from a table, and remembers what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:  # the standard library's name
        self.server.asked.append(self.path)
        answer = self.server.answers.get(self.path) or Answer(b"", 404)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.length is not None:
            self.send_header("Content-Length", str(answer.length))
        self.end_headers()
        self.wfile.write(answer.body)
        if answer.stall:
            self.wfile.flush()
            self.server.released.wait(30)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the standard library's name
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


PINNED = Download("authors", f"https://weights.invalid/release/tiny-{DIGEST[:8]}.pth", DIGEST[:8])
UNPINNED = Download("hub", "https://hub.invalid/timm/tiny.in1k/resolve/main/model.safetensors", None)


@pytest.fixture
def tiny() -> Variant:
    return replace(custom(2, 1, 64), name="tiny", downloads=(PINNED, UNPINNED))


def path_of(download: Download) -> str:
    return urlsplit(download.url).path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_file_is_downloaded_once_and_verified_each_time(server: Server, tiny: Variant, tmp_path: Path) -> None:
    server.answers[path_of(PINNED)] = Answer()
    told: list[tuple[int, int | None]] = []
    path = fetch(tiny, cache=tmp_path, base_url=server.url, on_progress=lambda *now: told.append(now))
    assert path == tmp_path / f"tiny-{DIGEST[:8]}.pth"
    assert path.read_bytes() == BODY
    assert names_in(tmp_path) == [path.name]
    assert told[-1] == (len(BODY), len(BODY)) and len(told) > 1
    assert [received for received, _ in told] == sorted({received for received, _ in told})
    assert fetch(tiny, cache=tmp_path, base_url=server.url) == path
    assert server.asked == [path_of(PINNED)]
    path.write_bytes(BODY[:-1] + b"?")
    with pytest.raises(CheckpointError, match="changed or damaged") as caught:
        fetch(tiny, cache=tmp_path, base_url=server.url)
    assert "Delete it" in str(caught.value) and str(path) in str(caught.value)


def test_a_wrong_digest_leaves_nothing(server: Server, tiny: Variant, tmp_path: Path) -> None:
    server.answers[path_of(PINNED)] = Answer(BODY[:-1] + b"?")
    with pytest.raises(CheckpointError, match="was not kept"):
        fetch(tiny, cache=tmp_path, base_url=server.url)
    assert names_in(tmp_path) == []


def test_a_download_that_ends_early_leaves_nothing(server: Server, tiny: Variant, tmp_path: Path) -> None:
    server.answers[path_of(PINNED)] = Answer(BODY[:-1000])
    with pytest.raises(UnavailableError, match=f"after {len(BODY) - 1000} of {len(BODY)} bytes"):
        fetch(tiny, cache=tmp_path, base_url=server.url)
    assert names_in(tmp_path) == []


def test_a_shortened_file_of_unknown_length_is_caught_by_its_digest(
    server: Server, tiny: Variant, tmp_path: Path
) -> None:
    server.answers[path_of(PINNED)] = Answer(BODY[:-1000], length=None)
    with pytest.raises(CheckpointError, match="was not kept"):
        fetch(tiny, cache=tmp_path, base_url=server.url)
    server.answers[path_of(PINNED)] = Answer(length=None)
    told: list[int | None] = []
    fetch(tiny, cache=tmp_path, base_url=server.url, on_progress=lambda _, total: told.append(total))
    assert set(told) == {None}


def test_a_server_that_goes_silent(server: Server, tiny: Variant, tmp_path: Path) -> None:
    server.answers[path_of(PINNED)] = Answer(BODY[:1000], stall=True)
    with pytest.raises(UnavailableError, match=r"broke off \(.*timed out"):
        fetch(tiny, cache=tmp_path, base_url=server.url, timeout=0.2)
    assert names_in(tmp_path) == []


def test_a_missing_file_says_what_to_do_by_hand(server: Server, tiny: Variant, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="404") as caught:
        fetch(tiny, cache=tmp_path, base_url=server.url)
    message = str(caught.value)
    assert f"{server.url}{path_of(PINNED)}" in message
    assert str(tmp_path / f"tiny-{DIGEST[:8]}.pth") in message and "--weights PATH" in message
    assert caught.value.exit_code == 3


def test_no_network(server: Server, tiny: Variant, tmp_path: Path) -> None:
    url = server.url
    server.server_close()
    with pytest.raises(UnavailableError, match="no connection"):
        fetch(tiny, cache=tmp_path, base_url=url, timeout=2.0)


def test_a_file_put_there_by_hand_needs_no_network(tiny: Variant, tmp_path: Path) -> None:
    path = tmp_path / f"tiny-{DIGEST[:8]}.pth"
    path.write_bytes(BODY)
    assert fetch(tiny, cache=tmp_path) == path


def test_the_hub_states_its_digest_on_the_redirect(server: Server, tiny: Variant, tmp_path: Path) -> None:
    redirect = Answer(b"", 302, {"Location": "/cdn/blob", "X-Linked-Etag": f'"{DIGEST}"'}, length=0)
    server.answers |= {path_of(UNPINNED): redirect, "/cdn/blob": Answer(headers={"ETag": '"0123-4"'})}
    path = fetch(tiny, source="hub", cache=tmp_path, base_url=server.url)
    assert path == tmp_path / "tiny.in1k.safetensors"
    assert (tmp_path / "tiny.in1k.safetensors.sha256").read_text() == f"{DIGEST}\n"
    assert server.asked == [path_of(UNPINNED), "/cdn/blob"]


def test_a_file_that_is_not_the_one_the_hub_states(server: Server, tiny: Variant, tmp_path: Path) -> None:
    redirect = Answer(b"", 302, {"Location": "/cdn/blob", "X-Linked-Etag": f'"{OTHER}"'}, length=0)
    server.answers |= {path_of(UNPINNED): redirect, "/cdn/blob": Answer()}
    with pytest.raises(CheckpointError, match=OTHER):
        fetch(tiny, source="hub", cache=tmp_path, base_url=server.url)
    assert names_in(tmp_path) == []


def test_without_a_digest_the_first_download_is_trusted_and_later_uses_held_to_it(
    server: Server, tiny: Variant, tmp_path: Path
) -> None:
    server.answers[path_of(UNPINNED)] = Answer(headers={"ETag": 'W/"5f3-abc"'})
    path = fetch(tiny, source="hub", cache=tmp_path, base_url=server.url)
    assert fetch(tiny, source="hub", cache=tmp_path) == path
    path.write_bytes(b"other")
    with pytest.raises(CheckpointError, match=OTHER):
        fetch(tiny, source="hub", cache=tmp_path)
    (tmp_path / f"{path.name}.sha256").write_text("nonsense")
    with pytest.raises(CheckpointError, match="no SHA-256"):
        fetch(tiny, source="hub", cache=tmp_path)


def test_a_hub_file_put_there_by_hand_is_recorded(tiny: Variant, tmp_path: Path) -> None:
    path = tmp_path / "tiny.in1k.safetensors"
    path.write_bytes(BODY)
    assert fetch(tiny, source="hub", cache=tmp_path) == path
    path.write_bytes(b"other")
    with pytest.raises(CheckpointError, match="changed or damaged"):
        fetch(tiny, source="hub", cache=tmp_path)


def test_https_is_never_left_for_http() -> None:
    headers = HTTPMessage()
    redirects = pretrained._Redirects()
    there = redirects.redirect_request(
        Request("https://a.invalid/x"), BytesIO(), 302, "Found", headers, "https://b.invalid/x"
    )
    assert there is not None and there.full_url == "https://b.invalid/x"
    with BytesIO() as body, pytest.raises(HTTPError, match="insecure") as caught:
        redirects.redirect_request(Request("https://a.invalid/x"), body, 302, "Found", headers, "http://b.invalid/x")
    caught.value.close()


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: str(variant.name))
def test_published_downloads(variant: Variant) -> None:
    default, *_ = variant.downloads
    assert default.sha256 is not None  # `--weights pretrained` uses no file whose digest the package does not know
    assert len({download.source for download in variant.downloads}) == len(variant.downloads)
    for download in variant.downloads:
        assert download.url.startswith("https://")
        if download.source == "hub":
            assert download.file_name.endswith(".in1k.safetensors") or "gluon_in1k" in download.file_name
        else:
            assert download.sha256 is not None
            assert download.file_name == path_of(download).rsplit("/", 1)[1]
            assert download.file_name.endswith(f"-{download.sha256}.pth")


def test_digests_are_those_that_the_authors_package_checks() -> None:
    authors = {
        name: f"{name}-{digest}.pth" for name, digest in (resnest._model_sha256 | ablation._model_sha256).items()
    }
    ours = {
        variant.name: download.file_name
        for variant in VARIANTS.values()
        for download in variant.downloads
        if download.source == "authors"
    }
    assert ours == authors


def test_a_source_that_has_no_such_weights(tiny: Variant) -> None:
    with pytest.raises(UsageError, match="'elsewhere'") as caught:
        fetch(tiny, source="elsewhere")
    assert "authors, hub" in str(caught.value)
    with pytest.raises(UsageError, match="nobody has published"):
        fetch(custom(8, 1, 64))


def test_a_cache_that_cannot_be_written(server: Server, tiny: Variant, tmp_path: Path) -> None:
    server.answers[path_of(PINNED)] = Answer()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="RESNEST_EDGE_CACHE"):
        fetch(tiny, cache=tmp_path / "file", base_url=server.url)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("RESNEST_EDGE_CACHE", raising=False)
    assert cache_folder() == tmp_path / "xdg" / "resnest-edge" / "weights"
    monkeypatch.setenv("RESNEST_EDGE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / "weights"
