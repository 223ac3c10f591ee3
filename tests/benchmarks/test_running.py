"""Engines that are kept, and runs that grow cell by cell: nothing is made twice, nothing foreign is taken over."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.running import CellRuns, EngineFolder, exiting, positive
from resnest_edge.errors import InputError, UsageError
from resnest_edge.measure.latency import Benchmark

IDENTITY = {"what": "resnest50", "versions": {"openvino": "1"}}
HEAD = {"model": "resnest50", "rounds": 3}


def write(out: Path) -> None:
    out.mkdir()
    (out / "engine.xml").write_text("an engine", encoding="utf-8")


def fail(out: Path) -> None:
    write(out)
    raise ModuleNotFoundError("No module named 'nowhere'\nand more")


def test_an_engine_is_made_once_and_found_again(tmp_path: Path) -> None:
    made: list[Path] = []
    folder = EngineFolder(tmp_path, IDENTITY)

    def work(out: Path) -> None:
        made.append(out)
        write(out)

    for _ in range(2):
        folder.make("ours INT8, OpenVINO", work)
    assert len(made) == 1
    again = EngineFolder(tmp_path, IDENTITY)
    (subject,) = again.subjects([("ours INT8, OpenVINO", "openvino"), ("theirs", "openvino")])
    assert (subject.path / "engine.xml").read_text(encoding="utf-8") == "an engine"


def test_a_failure_leaves_its_reason_and_nothing_else_and_is_tried_again(tmp_path: Path) -> None:
    folder = EngineFolder(tmp_path, IDENTITY)
    folder.make("theirs", fail)
    assert EngineFolder(tmp_path, IDENTITY).failed == {"theirs": "ModuleNotFoundError: No module named 'nowhere'"}
    assert [path.name for path in tmp_path.iterdir()] == ["engines.json"]
    folder.make("theirs", write)
    assert EngineFolder(tmp_path, IDENTITY).failed == {} and folder.has("theirs")


def test_engines_of_something_else_are_refused(tmp_path: Path) -> None:
    EngineFolder(tmp_path, IDENTITY).save()
    with pytest.raises(InputError, match="versions"):
        EngineFolder(tmp_path, {**IDENTITY, "versions": {"openvino": "2"}})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"identity": ', '{"identity": {}, "failed": {}}'])
def test_what_no_benchmark_wrote_is_refused(tmp_path: Path, text: str) -> None:
    for name in ("engines.json", "peers.json"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="no benchmark wrote this"):
        EngineFolder(tmp_path, IDENTITY)
    with pytest.raises(InputError, match="no benchmark wrote this"):
        CellRuns(tmp_path / "peers.json", HEAD)


def told(speed: float) -> Benchmark:
    return Benchmark((), (), {"load_average": speed}, ("busy",))


def test_runs_grow_by_the_cells_that_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    first = CellRuns(path, HEAD)
    first.add((1, 1), told(0.1))
    again = CellRuns(path, HEAD)
    assert again.missing([(1, 1), (8, 1), (8, 2)]) == [(8, 1), (8, 2)]
    again.add((8, 2), told(0.3))
    again.add((8, 1), told(0.2))
    value = CellRuns(path, HEAD).value
    kept = [(run["batch"], run["streams"], run["conditions"]["load_average"]) for run in value["runs"]]
    assert kept == [(1, 1, 0.1), (8, 1, 0.2), (8, 2, 0.3)]


def test_runs_of_something_else_are_refused_unless_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    CellRuns(path, HEAD).add((1, 1), told(0.1))
    with pytest.raises(InputError, match="rounds"):
        CellRuns(path, {**HEAD, "rounds": 4})
    assert CellRuns(path, {**HEAD, "rounds": 4}, force=True).missing([(1, 1)]) == [(1, 1)]


def test_an_error_is_one_line_and_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise UsageError("this cannot be", hint="Do that.")

    with pytest.raises(SystemExit) as exit_:
        exiting(work)
    assert exit_.value.code == 2
    assert "this cannot be" in capsys.readouterr().err


def test_a_batch_size_of_nothing_is_refused() -> None:
    assert positive([8, 1, 8], (1,), "batch size") == (8, 1)
    with pytest.raises(UsageError, match="batch size"):
        positive([0], (1,), "batch size")
