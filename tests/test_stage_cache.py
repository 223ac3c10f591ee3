"""The stage cache: the same inputs find it, others do not; damage and lack of room never give a wrong value."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge import environment, stage_cache
from resnest_edge.errors import ScalesError, UsageError
from resnest_edge.files import new_folder
from resnest_edge.spec import Precision
from resnest_edge.stage_cache import StageCache, Step, plain

STEP = Step("stage", "something", {"input": 1})


class Maker:
    """Makes a text, and counts how often."""

    def __init__(self, cache: StageCache, text: str = "made") -> None:
        self.cache, self.text, self.made = cache, text, 0

    def fetch(self, step: Step = STEP) -> str:
        return self.cache.fetch(step, self._make, _write, _read)

    def _make(self) -> str:
        self.made += 1
        return self.text


def _write(text: str, folder: Path) -> None:
    (folder / "text").write_text(text)


def _read(folder: Path) -> str:
    return (folder / "text").read_text()


def entry_of(cache: StageCache) -> Path:
    (entry,) = cache.entries()
    return entry.path


def test_the_second_time_it_is_reused_and_told(tmp_path: Path) -> None:
    told: list[str] = []
    maker = Maker(StageCache(tmp_path / "stages", told.append))
    assert [maker.fetch(), maker.fetch()] == ["made", "made"]
    assert maker.made == 1
    assert told == ["reused from the cache: something"]
    assert maker.cache.reused == ["something"]


@pytest.mark.parametrize(
    "other",
    [
        Step("other", "something", {"input": 1}),
        Step("stage", "something", {"input": 2}),
        Step("stage", "something", {}),
    ],
    ids=["stage", "input", "no input"],
)
def test_another_stage_or_input_is_made(tmp_path: Path, other: Step) -> None:
    maker = Maker(StageCache(tmp_path))
    maker.fetch()
    maker.fetch(other)
    assert maker.made == 2


@pytest.mark.parametrize("what", ["cpu_name", "cpu_isa", "tool_versions", "code_digest"])
def test_another_machine_tool_or_code_is_another_key(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    before = STEP.key()
    assert STEP.key() == before
    monkeypatch.setattr(stage_cache if what == "code_digest" else environment, what, lambda: "another")
    assert STEP.key() != before


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _other_key(path: Path) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "key": "stage-0"}))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": lambda entry: _flip(entry / "text"),
    "a missing file": lambda entry: (entry / "text").unlink(),
    "a cut file": lambda entry: os.truncate(entry / "text", 1),
    "no record": lambda entry: (entry / "entry.json").unlink(),
    "a cut record": lambda entry: os.truncate(entry / "entry.json", 30),
    "an empty record": lambda entry: (entry / "entry.json").write_text("{}"),
    "a record that is no table": lambda entry: (entry / "entry.json").write_text("[]"),
    "another's record": lambda entry: _other_key(entry / "entry.json"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_entry_is_removed_told_and_made_anew(tmp_path: Path, kind: str) -> None:
    told: list[str] = []
    maker = Maker(StageCache(tmp_path, told.append))
    maker.fetch()
    DAMAGE[kind](entry_of(maker.cache))
    maker.text = "made anew"
    assert maker.fetch() == "made anew"
    assert len(told) == 1 and told[0].startswith("removed a damaged entry of the cache, ")
    assert maker.fetch() == "made anew"
    assert maker.made == 2


def test_a_record_reads_no_file_elsewhere(tmp_path: Path) -> None:
    maker = Maker(StageCache(tmp_path / "stages"))
    maker.fetch()
    record = entry_of(maker.cache) / "entry.json"
    value = json.loads(record.read_text())
    record.write_text(json.dumps({**value, "files": {"../../secret": value["files"]["text"]}}))
    (tmp_path / "secret").write_text("made")
    assert maker.fetch() == "made" and maker.made == 2


def test_an_entry_that_cannot_be_read_back_is_made_anew(tmp_path: Path) -> None:
    maker = Maker(StageCache(tmp_path))
    maker.fetch()

    def broken(_: Path) -> str:
        raise ScalesError("of another schema")

    assert maker.cache.fetch(STEP, lambda: "anew", _write, broken) == "anew"
    assert maker.fetch() == "anew" and maker.made == 1


def test_an_error_of_the_stage_passes_and_keeps_nothing(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)

    def fail() -> str:
        raise UsageError("wrong")

    with pytest.raises(UsageError, match="wrong"):
        cache.fetch(STEP, fail, _write, _read)
    assert cache.entries() == []


def test_a_cache_that_cannot_be_written_costs_the_build_nothing(tmp_path: Path) -> None:
    (tmp_path / "stages").write_text("a file where the folder should be")
    told: list[str] = []
    assert Maker(StageCache(tmp_path / "stages", told.append)).fetch() == "made"
    assert len(told) == 1 and told[0].startswith("nothing is kept for the next build")


def test_the_least_recently_used_make_room(tmp_path: Path) -> None:
    steps = [Step("stage", str(number), {"number": number}) for number in range(4)]
    cache = StageCache(tmp_path, limit_bytes=3200)
    maker = Maker(cache, "x" * 800)
    for age, step in enumerate(steps[:3]):
        maker.fetch(step)
        os.utime(tmp_path / f"stage-{step.key()}", (1000 + age, 1000 + age))
    maker.fetch(steps[0])  # used again: now the newest
    maker.fetch(steps[3])
    assert [entry.about for entry in cache.entries()] == ["2", "0", "3"]
    assert sum(entry.size_bytes for entry in cache.entries()) <= 3200


def test_what_is_larger_than_the_limit_is_kept_alone(tmp_path: Path) -> None:
    cache = StageCache(tmp_path, limit_bytes=10)
    maker = Maker(cache)
    maker.fetch(Step("stage", "old", {"number": 0}))
    maker.fetch(Step("stage", "new", {"number": 1}))
    assert [entry.about for entry in cache.entries()] == ["new"]


def test_clearing_removes_every_entry_and_what_killed_builds_left(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    Maker(cache).fetch()
    (tmp_path / ".stage-1.partial-abc").mkdir()
    (tmp_path / "notes.txt").touch()  # somebody's own file stays
    with new_folder(tmp_path / "stage-2", force=True) as living:
        assert [entry.about for entry in cache.clear()] == ["something"]
        assert living.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "stage-2"]


def test_a_cache_that_was_never_used_is_empty(tmp_path: Path) -> None:
    cache = StageCache(tmp_path / "none")
    assert cache.entries() == cache.clear() == []
    assert not (tmp_path / "none").exists()


@dataclass(frozen=True)
class Settings:
    precision: Precision
    names: frozenset[str]
    path: Path | None


@given(st.permutations([f"layer{number}" for number in range(8)]))
def test_equal_values_have_one_plain_form(names: list[str]) -> None:
    value = plain(Settings(Precision.INT8, frozenset(names), Path("a")))
    assert value == {"precision": "int8", "names": sorted(names), "path": "a"}


def test_a_value_that_does_not_tell_what_it_is_is_refused() -> None:
    with pytest.raises(TypeError, match="object does not tell"):
        plain({"input": object()})


def test_the_folder_follows_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(stage_cache.CACHE_VARIABLE, str(tmp_path))
    assert stage_cache.stages_folder() == tmp_path / "stages"
