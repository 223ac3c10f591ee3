from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from resnest_edge.report import Report, render_markdown
from resnest_edge.report.markdown import escape
from tests.report.samples import many, two, unlabelled

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def inline(tokens: list[Token]) -> list[Token]:
    return [token for token in tokens if token.type == "inline"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip))
@example("| `a` **b** <c> [d](e) _f_ ~g~ #h $i$ &amp; \\")
@example("1. one")
@example("- item")
@example("=====")
def test_escaped_text_reads_as_it_was(text: str) -> None:
    # in the places a report puts it: a paragraph, a list item and a table cell
    for frame, place in (("{}", 0), ("- {}", 0), ("| a |\n| --- |\n| x {} |", 1)):
        tokens = inline(PARSER.parse(frame.format(escape(text))))
        assert len(tokens) == place + 1
        children = tokens[place].children or []
        assert {child.type for child in children} <= {"text", "text_special"}
        seen = "".join(child.content for child in children).removeprefix("x" if place else "")
        assert seen.split() == text.split()


@pytest.mark.parametrize("report", [two(), many(9), unlabelled(), two(evaluations=(), benchmark=None)])
def test_the_table_is_a_table(report: Report) -> None:
    tokens = PARSER.parse(render_markdown(report))
    rows = sum(token.type == "tr_open" for token in tokens)
    assert rows == 1 + len(report.rows)
    headings = sum(token.type == "th_open" for token in tokens)
    assert sum(token.type == "td_open" for token in tokens) == headings * len(report.rows)


def test_hostile_names_stay_in_their_cells() -> None:
    report = two()
    hostile = replace(report.rows[1], bundle="a|b`<script>*", target="x\ny", precision="int8|")
    tokens = PARSER.parse(render_markdown(replace(report, rows=(report.rows[0], hostile), title="# <b> `x`")))
    assert sum(token.type == "tr_open" for token in tokens) == 3
    raw = [child.content for token in inline(tokens) for child in token.children or [] if child.type == "html_inline"]
    assert set(raw) <= {"<br>", "<sub>", "</sub>"}


def test_commands_cannot_close_their_fence() -> None:
    commands = ("echo ```", "````sh", "echo $HOME | cat")
    tokens = PARSER.parse(render_markdown(two(commands=commands)))
    (fence,) = (token for token in tokens if token.type == "fence")
    assert fence.content == "\n".join(commands) + "\n"


def test_the_demo_says_so_first() -> None:
    text = render_markdown(two(demo=True))
    assert text.index("**Demo model.**") < text.index("| Engine |")
    assert "`resnest-edge build resnest50 --weights pretrained" in text
    assert "Demo model" not in render_markdown(two())


def test_what_was_not_measured_has_no_column() -> None:
    bare = render_markdown(two(evaluations=(), benchmark=None))
    assert "| Engine | Size |" in bare
    assert "Top-1 lost, points" not in bare
    assert "Top-1" not in render_markdown(unlabelled()).split("\n\n")[2].splitlines()[0]
