"""Where pictures come from, and the list of demo scenes that ships with the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnest_edge.errors import ImageError, UsageError
from resnest_edge.images import sample
from resnest_edge.pipeline.pictures import open_pictures

LIST = Path(__file__).resolve().parents[2] / "calib" / "demo.txt"


def test_the_shipped_list_is_what_calibrate_draws() -> None:
    listed, drawn = open_pictures(str(LIST), 10), sample(open_pictures("demo:train", 10), 512, 0)
    assert [listed.name(i) for i in range(len(listed))] == [drawn.name(i) for i in range(len(drawn))]
    counts = [sum(listed.label(i) == label for i in range(len(listed))) for label in range(10)]
    assert sum(counts) == 512 and max(counts) - min(counts) <= 1


def test_a_scene_that_changed_is_refused(tmp_path: Path) -> None:
    lines = LIST.read_text(encoding="utf-8").splitlines()
    first = next(index for index, line in enumerate(lines) if not line.startswith("#"))
    lines[first] = lines[first][:-1] + ("0" if lines[first][-1] != "0" else "1")
    (tmp_path / "l.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(ImageError, match="not the one that was listed"):
        open_pictures(str(tmp_path / "l.txt"), 10)


def test_an_unknown_demo_word_is_refused() -> None:
    with pytest.raises(UsageError, match="demo:test"):
        open_pictures("demo:tset", 10)
