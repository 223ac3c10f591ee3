"""The page in a real browser: what it draws, whether it fits, and that it asks for nothing."""

from __future__ import annotations

import html
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resnest_edge.report import Report, render_html
from resnest_edge.report.comparison import compare_reports
from resnest_edge.report.comparison_pages import render_comparison_html
from resnest_edge.report.gates import parse_gates
from tests.report.samples import everything, many, two, two_runtimes, unlabelled
from tests.support.browser import chromium

# Frames the page at one width, then measures it from outside: the page itself holds no script.
PROBE = """<!doctype html><body style="margin:0">
<iframe style="border:0;width:{width}px;height:6000px" srcdoc="{page}"></iframe><pre id="found"></pre><script>
onload = () => {{
  const page = document.querySelector('iframe').contentDocument, box = node => node.getBoundingClientRect();
  const hit = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
  const overlaps = [], outside = [], small = [];
  for (const svg of page.querySelectorAll('svg')) {{
    const frame = box(svg), names = [...svg.querySelectorAll('text')];
    names.forEach((one, index) => {{
      const at = box(one);
      if (at.left < -1 || at.right > {width} + 1 || at.top < frame.top - 6 || at.bottom > frame.bottom + 6)
        outside.push(one.textContent);
      if (at.height < 11) small.push(one.textContent);
      names.slice(0, index).filter(other => hit(at, box(other)))
        .forEach(other => overlaps.push([one.textContent, other.textContent]));
    }});
  }}
  const style = page.defaultView.getComputedStyle(page.body);
  document.querySelector('#found').textContent = JSON.stringify({{
    overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    curves: page.querySelectorAll('path.curve').length, layers: page.querySelectorAll('rect.layer > title').length,
    published: page.querySelectorAll('.published').length,
    wide: [...page.querySelectorAll('.scroll')].some(box => box.scrollWidth > box.clientWidth + 1),
    points: page.querySelectorAll('circle.point').length, bars: page.querySelectorAll('rect.bar').length,
    rows: page.querySelectorAll('tbody tr').length, ground: style.backgroundColor, ink: style.color,
    heading: page.querySelector('h1').textContent, overlaps, outside, small,
  }});
}};
</script>"""


@pytest.fixture(scope="session")
def browser() -> str:
    return chromium()


def render(browser: str, folder: Path, page: str, *flags: str) -> tuple[str, str]:
    """The document after loading, and what the browser logged, its console included."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--no-first-run", "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1400,900", "--enable-logging=stderr"]
    command += [*flags, "--virtual-time-budget=2000", path.as_uri()]
    command += [] if any(flag.startswith("--print") for flag in flags) else ["--dump-dom"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def probe(browser: str, folder: Path, report: Report, width: int, *flags: str) -> dict[str, Any]:
    return probe_page(browser, folder, render_html(report), width, *flags)


def probe_page(browser: str, folder: Path, text: str, width: int, *flags: str) -> dict[str, Any]:
    page = PROBE.format(width=width, page=html.escape(text, quote=True))
    dom, log = render(browser, folder, page, *flags)
    assert "CONSOLE" not in log, log
    found = re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None
    value: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return value


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_and_its_labels_are_legible(browser: str, tmp_path: Path, width: int) -> None:
    found = probe(browser, tmp_path, two(demo=True), width)
    assert found["overflow"] <= 0
    assert (found["points"], found["bars"], found["rows"]) == (2, 8, 2)
    assert (found["overlaps"], found["outside"], found["small"]) == ([], [], [])
    assert found["heading"].startswith("INT8 is 2.50× faster than FP32 at −0.10 points of top-1")


@pytest.mark.parametrize("width", [360, 900, 1280])
def test_every_part_of_the_page_fits(browser: str, tmp_path: Path, width: int) -> None:
    found = probe(browser, tmp_path, everything(), width)
    assert found["overflow"] == 0
    assert not found["wide"] or width == 900  # between telephone and desk, the widest table scrolls in its own box
    assert (found["overlaps"], found["outside"], found["small"]) == ([], [], [])
    # two distributions and two throughputs; both engines' layers; one ResNeSt and eight EfficientNets
    assert (found["curves"], found["layers"], found["published"]) == (4, 80, 9)
    assert found["points"] == 2


@pytest.mark.parametrize("width", [360, 1280])
def test_a_comparison_fits(browser: str, tmp_path: Path, width: int) -> None:
    report = everything()
    worse = replace(report, rows=(report.rows[0], replace(report.rows[1], top1=80.0, size_mib=90.0)))
    text = render_comparison_html(compare_reports(report, worse, parse_gates("drop>0.3,latency>5%")))
    found = probe_page(browser, tmp_path, text, width)
    assert (found["overflow"], found["wide"], found["rows"]) == (0, False, 7)
    assert found["heading"] == "Of 6 checks, 1 failed."


def test_the_page_prints(browser: str, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    render(browser, tmp_path, render_html(everything()), f"--print-to-pdf={paper}")
    assert paper.read_bytes().startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type /Page\b", paper.read_bytes())) <= 6


def test_eight_close_engines_are_all_named(browser: str, tmp_path: Path) -> None:
    found = probe(browser, tmp_path, many(8), 1280)
    assert (found["points"], found["rows"]) == (8, 8)
    assert (found["overlaps"], found["outside"]) == ([], [])


@pytest.mark.parametrize("width", [360, 1280])
def test_long_names_of_close_engines_do_not_cover_each_other(browser: str, tmp_path: Path, width: int) -> None:
    found = probe(browser, tmp_path, two_runtimes(), width)
    assert (found["points"], found["rows"]) == (5, 5)
    assert (found["overlaps"], found["outside"]) == ([], [])


def test_numbers_of_engines_in_one_place_can_both_be_read(browser: str, tmp_path: Path) -> None:
    found = probe(browser, tmp_path, two_runtimes(uncertainty=0.5), 1280)
    assert (found["points"], found["overlaps"], found["outside"]) == (5, [], [])


def test_a_report_without_labels_has_bars_and_no_points(browser: str, tmp_path: Path) -> None:
    found = probe(browser, tmp_path, unlabelled(), 1280)
    assert (found["points"], found["bars"], found["rows"]) == (0, 8, 2)


def test_the_page_follows_the_readers_dark_or_light(browser: str, tmp_path: Path) -> None:
    dark = probe(browser, tmp_path, two(), 1280, "--blink-settings=preferredColorScheme=0")
    assert (dark["ground"], dark["ink"]) == ("rgb(20, 23, 27)", "rgb(232, 234, 237)")
    light = probe(browser, tmp_path, two(), 1280, "--blink-settings=preferredColorScheme=1")
    assert (light["ground"], light["ink"]) == ("rgb(255, 255, 255)", "rgb(22, 25, 29)")


def test_the_probe_would_see_errors_and_overlaps(browser: str, tmp_path: Path) -> None:
    _, log = render(browser, tmp_path, "<!doctype html><script>console.error('seen')</script>")
    assert "CONSOLE" in log
    broken = (
        "<svg width=100 height=40><text y=20>one</text><text y=20>two</text><text x=5000 y=20>far</text></svg><h1></h1>"
    )
    dom, _ = render(browser, tmp_path, PROBE.format(width=400, page=html.escape(broken, quote=True)))
    found = re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None
    value = json.loads(html.unescape(found.group(1)))
    assert value["overlaps"] == [["two", "one"]]
    assert value["outside"] == ["far"]
