"""Pretrained weights: downloaded once, verified each time. Uses nothing but the standard library."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from resnest_edge.errors import CheckpointError, OutputError, UnavailableError, UsageError
from resnest_edge.files import partial_file, sha256_file, write_atomically
from resnest_edge.models.variants import Download, Variant
from resnest_edge.stage_cache import CACHE_VARIABLE, cache_root

_CHUNK = 1 << 18
_SHA256 = re.compile(r"[0-9a-f]{64}")

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes received so far and their total; the total is None while it is not known."""


def cache_folder() -> Path:
    """Where pretrained weights are kept: ``$RESNEST_EDGE_CACHE/weights``, else the user's cache folder."""
    return cache_root() / "weights"


def fetch(
    variant: Variant,
    *,
    source: str | None = None,
    cache: Path | None = None,
    on_progress: Progress | None = None,
    base_url: str | None = None,
    timeout: float = 30.0,
) -> Path:
    """The file of a variant's ImageNet-1k weights, downloaded unless it is in the cache, and verified either way.

    A file is held to the digest in :class:`Download`. Where that has none (most files of the hub), it is held to the
    SHA-256 that the server states, and its digest is kept beside it: later uses are held to the first one.

    Args:
        variant: a published variant.
        source: which of the variant's downloads: ``authors``, ``timm`` or ``hub``; None takes the first.
        cache: the folder of the file; None means :func:`cache_folder`.
        on_progress: told of the bytes received.
        base_url: another server (scheme and host) with the same paths: a mirror.
        timeout: seconds of silence after which the server counts as gone.

    Raises:
        UsageError: no such download is known.
        UnavailableError: no network, no such file there, or it ended early.
        CheckpointError: the file's digest is wrong. A downloaded one is not kept.
        OutputError: the cache cannot be written.
    """
    download = _choose(variant, source)
    path = (cache or cache_folder()) / download.file_name
    record = _Record(path)
    if not path.is_file():
        url = download.url if base_url is None else _moved(download.url, base_url)
        stated = _receive(url, path, download.sha256, timeout, on_progress or _silent)
        if download.sha256 is None:
            record.write(stated)
        return path
    digest = sha256_file(path)
    expected = download.sha256 or record.read()
    if expected is None:
        record.write(digest)
    elif not digest.startswith(expected):
        raise CheckpointError(
            f"its SHA-256 is {digest}, not {expected}: it was changed or damaged",
            where=path,
            hint="Delete it, and it is downloaded again.",
        )
    return path


@dataclass(frozen=True)
class _Record:
    """The digest that a file without a published one had when it was first used."""

    weights: Path

    @property
    def _path(self) -> Path:
        return self.weights.with_name(f"{self.weights.name}.sha256")

    def read(self) -> str | None:
        if not self._path.is_file():
            return None
        text = self._path.read_text(encoding="ascii", errors="replace").strip()
        if not _SHA256.fullmatch(text):
            raise CheckpointError("is no SHA-256", where=self._path, hint="Delete it together with the weights.")
        return text

    def write(self, digest: str) -> None:
        write_atomically(self._path, f"{digest}\n".encode("ascii"))


def _choose(variant: Variant, source: str | None) -> Download:
    if not variant.downloads:
        raise UsageError(f"nobody has published weights of {variant.name}", hint="Give your own: --weights PATH.")
    if source is None:
        return variant.downloads[0]
    for download in variant.downloads:
        if download.source == source:
            return download
    known = ", ".join(download.source for download in variant.downloads)
    raise UsageError(f"{source!r} has no weights of {variant.name}", hint=f"These sources have: {known}.")


def _moved(url: str, base_url: str) -> str:
    base = urlsplit(base_url)
    return urlunsplit((base.scheme, base.netloc, urlsplit(url).path, "", ""))


def _silent(received: int, total: int | None) -> None:
    """Tell nobody."""


def _receive(url: str, path: Path, expected: str | None, timeout: float, on_progress: Progress) -> str:
    """Download under a temporary name, which becomes the final one once verified; the file's SHA-256."""
    redirects = _Redirects()
    with (
        _response(url, path, timeout, build_opener(redirects)) as response,
        _writing(path),
        partial_file(path) as stream,
    ):
        digest = hashlib.sha256()
        received, total = 0, _length(response)
        while chunk := _read(response, url, path):
            stream.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            on_progress(received, total)
        if total is not None and received != total:
            raise _unavailable(url, path, f"the download ended after {received} of {total} bytes")
        _verify(url, digest.hexdigest(), expected or redirects.stated or _stated(response.headers))
    return digest.hexdigest()


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, never from HTTPS to HTTP, and keeps the digest that the hub states on the way."""

    stated: str | None = None

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        self.stated = self.stated or _stated(headers)
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise HTTPError(newurl, code, "redirects from https to an insecure address", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _stated(headers: HTTPMessage) -> str | None:
    """The SHA-256 of a large file on the hub, which its headers state as an ETag."""
    tags = (headers.get(name, "").strip().removeprefix("W/").strip('"') for name in ("X-Linked-Etag", "ETag"))
    return next((tag for tag in tags if _SHA256.fullmatch(tag)), None)


def _length(response: HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _verify(url: str, digest: str, expected: str | None) -> None:
    if expected is not None and not digest.startswith(expected):
        raise CheckpointError(
            f"the downloaded file's SHA-256 is {digest}, not {expected}; it was not kept",
            where=url,
            hint="Repeat; if it stays so, the file there was replaced: do not use it.",
        )


@contextlib.contextmanager
def _response(url: str, path: Path, timeout: float, opener: OpenerDirector) -> Iterator[HTTPResponse]:
    try:
        response: HTTPResponse = opener.open(url, timeout=timeout)
    except HTTPError as exc:
        exc.close()
        raise _unavailable(url, path, f"the server answers {exc.code} {exc.reason}") from exc
    except URLError as exc:
        raise _unavailable(url, path, f"no connection ({exc.reason})") from exc
    except (OSError, HTTPException) as exc:
        raise _unavailable(url, path, f"no connection ({str(exc) or type(exc).__name__})") from exc
    with response:
        yield response


def _read(response: HTTPResponse, url: str, path: Path) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, HTTPException) as exc:
        raise _unavailable(url, path, f"the download broke off ({str(exc) or type(exc).__name__})") from exc


def _unavailable(url: str, path: Path, what: str) -> UnavailableError:
    return UnavailableError(
        what,
        where=url,
        hint=f"Put the file at {path} by hand and repeat, or give a weights file of your own: --weights PATH.",
    )


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise OutputError(
            f"the weights cannot be kept ({exc.strerror or exc})",
            where=path,
            hint=f"Free some space, or name another folder with {CACHE_VARIABLE}.",
        ) from exc
