from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import resnest_edge.report
from resnest_edge.report import Report, render_html
from resnest_edge.report.plots import COLOURS
from resnest_edge.report.words import headline
from tests.report.samples import everything, many, two, unlabelled

CSS = (Path(resnest_edge.report.__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """Tags with their attributes, and the text; complains when tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words += data


@pytest.mark.parametrize(
    "report",
    [two(), everything(), two(demo=True), many(10), unlabelled(), two(evaluations=(), benchmark=None, commands=())],
)
def test_the_page_is_whole_and_needs_nothing_else(report: Report) -> None:
    text = render_html(report)
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "img", "iframe", "object", "embed", "form"})
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "action", "srcset", "style"):
            assert attributes.get(name) in (None, "data:,"), (tag, name)
    assert re.search(r"https?:|url\(|@import", text) is None
    assert headline(report) in page.words
    assert ("Demo model." in page.words) == report.demo


def test_hostile_text_stays_text() -> None:
    report = two()
    evil = "<script>alert(1)</script>\"'&"
    row = replace(report.rows[1], bundle=evil, precision=evil, target=evil, form=evil, precision_run=evil)
    text = render_html(
        replace(
            report,
            title=evil,
            rows=(report.rows[0], row),
            benchmark=tuple({**result, "bundle": evil} for result in report.benchmark if "int8" in result["bundle"]),
            warnings=(evil,),
            notes=(evil,),
            commands=(evil,),
            environment={evil: evil},
        )
    )
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.words.count(evil) >= 7


def _palettes() -> list[tuple[str, dict[str, str]]]:
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found = [dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", block)) for block in blocks]
    assert len(found) == 3
    return list(zip(("light", "dark", "print"), found, strict=True))


def _luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.1."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("name", "palette"), _palettes(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_text_is_readable_on_its_ground(name: str, palette: dict[str, str]) -> None:
    pairs = [(f"--c{index}", "--paper") for index in range(COLOURS)]
    pairs += [("--ink", ground) for ground in ("--paper", "--tint", "--demo", "--care") if ground in palette]
    pairs += [("--soft", "--paper")]
    for ink, ground in pairs:
        bright, dark = sorted((_luminance(palette[ink]), _luminance(palette[ground])), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)  # WCAG 2.1, 1.4.3
