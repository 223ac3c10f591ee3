"""The page in a real browser: pictures arrive and move, numbers are drawn, labels are text, and it fits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resnest_edge.camera.base import SourceState
from resnest_edge.camera.sinks.mjpeg import MjpegPage, PageOptions
from tests.support.browser import Browser
from tests.support.results import LABELS, counts, result

SCRIPT = "<img src=x onerror=alert(1)>"
PIXEL = """(() => {
  const image = document.querySelector('img'), canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const at = (column) => context.getImageData((column + .5) * canvas.width / 4, canvas.height * 7 / 8, 1, 1).data[0];
  return [0, 1, 2, 3].map((column) => at(column) > 127 ? 1 : 0).join('');
})()"""


@contextmanager
def running(*sources: str) -> Iterator[MjpegPage]:
    """A page that is written to 20 times a second; frame ids come and go in fours of 0 to 15."""
    page, end = MjpegPage(PageOptions(port=0), LABELS), threading.Event()

    def write() -> None:
        number = 0
        while not end.wait(0.05):
            for source in sources:
                page.write(result(number // 20 % 16, SCRIPT if source == "b" else "cat", source=source, width=320))
            states = {source: SourceState.STALLED if source == "b" else SourceState.STREAMING for source in sources}
            page.status({source: counts(state, captured=1234, dropped=56) for source, state in states.items()})
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield page
    finally:
        end.set()
        writer.join()
        page.close()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (500, True)])
def test_the_page_shows_pictures_answers_and_counts(tmp_path: Path, width: int, dark: bool) -> None:
    with running("a", "b") as page, Browser(tmp_path, width=width, dark=dark) as browser:
        browser.open(page.url)
        browser.wait_for("document.querySelectorAll('img').length === 2")
        browser.wait_for("[...document.querySelectorAll('img')].every((image) => image.naturalWidth === 320)")
        first = browser.ask(PIXEL)
        browser.wait_for(f"{PIXEL} !== '{first}'")  # the last row of blocks spells the frame id: the picture moves
        text = str(browser.ask("document.body.innerText"))
        for words in ("a streaming", "b stalled", "cat", "75.0 %", SCRIPT, "1,234", "captured", "answers a second"):
            assert words in text.replace("\n", " "), text
        assert browser.ask("document.querySelector('#health').textContent") == "source b is stalled"
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
        ground = browser.ask("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
        browser.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 10_000
        assert browser.errors == []


def test_many_sources_are_not_starved_of_connections(tmp_path: Path) -> None:
    with running(*"abcdefgh") as page, Browser(tmp_path) as browser:
        browser.open(page.url)
        browser.wait_for("document.querySelectorAll('img').length === 8")
        browser.wait_for("[...document.querySelectorAll('img')].every((image) => image.naturalWidth === 320)")
        before = browser.ask("document.querySelector('#run').textContent")
        browser.wait_for(f"document.querySelector('#run').textContent !== {json.dumps(before)}")  # still being told
        assert browser.errors == []


def test_a_run_that_ends_is_told(tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        with running("a") as page:
            browser.open(page.url)
            browser.wait_for("document.querySelector('#health').textContent === 'all well'")
        browser.wait_for("document.querySelector('#health').textContent === 'the run does not answer'")
        assert browser.errors and all("ERR_" in error or "net::" in error for error in browser.errors)
