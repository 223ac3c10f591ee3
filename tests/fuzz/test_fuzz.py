"""A short run of the fuzzers, with other inputs every time (in CI always the same); ``make fuzz`` is the long one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

import hypothesis
import pytest
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="the ONNX reader needs the extra export")

from tests.fuzz.__main__ import READERS, fuzz, open_reader
from tests.fuzz.junk import mutate_json
from tests.fuzz.outcome import Outcome

LOG = Path(__file__).resolve().parents[2] / "reports" / "fuzz.log"


@pytest.mark.parametrize("name", READERS)
def test_readers_answer_mutations_with_their_own_error_or_take_them(tmp_path: Path, name: str) -> None:
    reader, counts = open_reader(name, tmp_path / "files"), Counter[Outcome]()

    @hypothesis.settings(max_examples=150, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.integers(0, 2**64 - 1))
    def read(number: int) -> None:
        counts[reader.check(Random(number))[1]] += 1

    read()
    assert 2 * counts[Outcome.UNPARSED] < sum(counts.values()), "fewer than half came past the first parser"
    assert counts[Outcome.REFUSED] and counts[Outcome.ACCEPTED]


def test_an_error_that_escapes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticking: list[float] = []
    monkeypatch.setattr("faulthandler.dump_traceback_later", lambda seconds, **_: ticking.append(seconds))
    monkeypatch.setattr("faulthandler.cancel_dump_traceback_later", ticking.clear)

    class Broken:
        name = "broken"

        def check(self, random: Random) -> tuple[bytes, Outcome]:
            number = random.randrange(50)
            return b"", (Outcome.ACCEPTED, Outcome.REFUSED)[1 // number]

    with pytest.raises(ZeroDivisionError):
        fuzz(Broken(), 500, 0, tmp_path / "last")
    assert (tmp_path / "last").read_text().isdigit()
    assert not ticking, "the watch for hangs would end this process"


def test_a_mutation_leaves_the_original_alone() -> None:
    value = {"a": [1, 2.5, "x"], "b": {"c": None, "d": True}}
    before = json.dumps(value)
    mutated = [mutate_json(value, Random(number)) for number in range(300)]
    assert json.dumps(value) == before
    assert sum(json.dumps(other) != before for other in mutated) > 250


def test_the_log_of_the_long_run_says_what_it_promises() -> None:
    lines = LOG.read_text(encoding="utf-8").splitlines()
    counted = [line.split() for line in lines if "past the first parser" in line]
    assert len(counted) == len(READERS)
    assert sum(int(line[line.index("different)") - 1].strip("(")) for line in counted) >= 100_000
    assert all(float(line[line.index("%") - 1]) >= 50 for line in counted)
    assert lines[-1].endswith("no traceback, no crash, no hang of 120 s")
