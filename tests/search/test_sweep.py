"""Sweeps: the cells, what is kept when one is interrupted, failures as rows, and the table at the end."""

from __future__ import annotations

import csv
import io
import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from resnest_edge.errors import InputError, UsageError
from resnest_edge.measure.latency import Plan
from resnest_edge.models.variants import VARIANTS
from resnest_edge.search import local_cells
from resnest_edge.search.local_cells import LocalCells
from resnest_edge.search.sweep import Cell, Settings, Work, choose_images, identity, make_cells, sweep
from resnest_edge.search.sweep_cell import run_cell
from resnest_edge.search.sweep_journal import Journal, SweepFile, SweepRow, read_sweep
from resnest_edge.search.sweep_table import CSV_COLUMNS, render_markdown, sweep_table, write_pages
from resnest_edge.spec import Form, Precision, Target
from scripts.report_schema import FOLDER
from tests.search.cells_at_work import dies_of_int8, measured, refuses_fp16

SETTINGS = Settings("none", None, "demo:train", None, 16, 0, "mse", Plan(rounds=1, seconds=0.05, warmup=0.0))
PRECISIONS = (Precision.INT8, Precision.FP16, Precision.FP32)


def cells(*variants: str, precisions: Sequence[Precision] = PRECISIONS) -> list[Cell]:
    return make_cells(variants, [], [Form.SPLIT], [Target.OPENVINO], precisions)


def journal(folder: Path, settings: Settings = SETTINGS) -> Journal:
    begun = SweepFile("2026-01-05T10:12:44+00:00", "resnest-edge sweep", identity(settings, cluster=False), {}, (), ())
    return Journal(folder, begun)


class Here:
    """Runs cells in this process, and notes which."""

    def __init__(self, work: Work = measured, stop_after: int | None = None) -> None:
        self.work, self.stop_after = work, stop_after
        self.asked: list[str] = []

    def run(self, cells: Sequence[Cell], settings: Settings) -> Iterator[SweepRow]:
        for cell in cells:
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(cell.key)
            yield self.work(cell, settings)


def test_cells_are_every_combination_once_with_fp32_first() -> None:
    found = make_cells(["resnest50", "resnest101"], [160, 224], [Form.SPLIT, Form.DENSE], [Target.OPENVINO], PRECISIONS)
    assert len(found) == len({cell.key for cell in found}) == 2 * 2 * 2 * 3
    assert [cell.precision for cell in found[:3]] == [Precision.FP32, Precision.FP16, Precision.INT8]
    networks = [(cell.variant, cell.image_size, cell.form) for cell in found]
    assert networks == sorted(networks, key=networks.index)  # a network's cells follow each other


def test_sizes_default_to_each_networks_own_and_aliases_are_one_network() -> None:
    found = cells("resnest50", "resnest269e", precisions=[Precision.FP32])
    own = [(cell.variant, cell.image_size) for cell in found]
    assert own == [("resnest50", 224), ("resnest269", VARIANTS["resnest269"].image_size)]
    (demo,) = cells(precisions=[Precision.FP32])
    assert (demo.variant, demo.image_size) == ("resnest-demo", 96)


@pytest.mark.parametrize(
    ("variants", "sizes", "forms", "words"),
    [
        (["resnest51"], [], [Form.SPLIT], "resnest51"),
        (["resnest50", "resnest50"], [], [Form.SPLIT], "variant names something twice"),
        (["resnest50", "resnest50d"], [], [Form.SPLIT], "variant names something twice"),
        (["resnest50"], [64, 64], [Form.SPLIT], "--image-size names something twice: 64, 64"),
        (["resnest50"], [], [Form.SPLIT, Form.SPLIT], "--form names something twice"),
    ],
)
def test_what_makes_no_sweep_is_refused(variants: list[str], sizes: list[int], forms: list[Form], words: str) -> None:
    with pytest.raises(UsageError) as error:
        make_cells(variants, sizes, forms, [Target.OPENVINO], [Precision.FP32])
    assert words in str(error.value)


def test_images_are_never_made_up_for_real_weights() -> None:
    int8 = [Precision.INT8]
    assert choose_images(["resnest50"], "none", None, int8)[0] == "demo:train"
    assert "scenes" in choose_images(["resnest50"], "none", None, int8)[1][0]
    assert choose_images(["resnest50"], "my.pth", "photos", int8) == ("photos", [])
    assert choose_images([], None, None, int8) == ("demo:train", [])
    for variants, weights in ((["resnest50"], "my.pth"), (["resnest50"], None), ([], "my.pth"), (["a", "b"], "my.pth")):
        with pytest.raises(UsageError):
            choose_images(variants, weights, None, int8)


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    wanted = cells("resnest50", "resnest101")
    first = journal(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sweep(wanted, SETTINGS, first, Here(stop_after=4))
    again, rest = journal(tmp_path), Here()
    assert again.resume() == 4
    told: list[str] = []
    rows = sweep(wanted, SETTINGS, again, rest, found=lambda row: told.append(row.key))
    assert rest.asked == told == [cell.key for cell in wanted[4:]]
    assert [row.key for row in rows] == [cell.key for cell in wanted]
    assert read_sweep(tmp_path / "sweep.json").rows == again.file().rows
    assert sweep(wanted, SETTINGS, again, Here(stop_after=0)) == rows  # nothing is left to do


def test_more_cells_join_an_earlier_sweep(tmp_path: Path) -> None:
    sweep(cells("resnest50"), SETTINGS, journal(tmp_path), Here())
    again, runner = journal(tmp_path), Here()
    again.resume()
    rows = sweep(cells("resnest50", "resnest101"), SETTINGS, again, runner)
    assert len(runner.asked) == 3 and len(rows) == 6


def test_a_failed_cell_is_a_row_and_is_run_again_only_on_request(tmp_path: Path) -> None:
    wanted = cells("resnest50")
    rows = sweep(wanted, SETTINGS, journal(tmp_path), Here(refuses_fp16))
    assert [row.status for row in rows] == ["done", "failed", "done"]
    assert (rows[1].reason, rows[1].exit_code) == ("no FP16 here", 2)
    again = journal(tmp_path)
    again.resume()
    assert sweep(wanted, SETTINGS, again, Here(stop_after=0)) == rows
    runner = Here()
    rows = sweep(wanted, SETTINGS, again, runner, retry_failed=True)
    assert runner.asked == [wanted[1].key]
    assert not any(row.failed for row in rows)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"weights": "pretrained"}, "weights"),
        ({"images": "photos"}, "images"),
        ({"plan": Plan(rounds=2, seconds=0.05, warmup=0.0)}, "plan"),
        ({"calib_images": 32, "seed": 1}, "calib_images, seed"),
    ],
)
def test_rows_of_other_settings_do_not_stand_beside(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    sweep(cells("resnest50"), SETTINGS, journal(tmp_path), Here())
    with pytest.raises(InputError, match=f"begun differently: {named}.*--force"):
        journal(tmp_path, replace(SETTINGS, **changes)).resume()
    assert journal(tmp_path, replace(SETTINGS, engines=Path("kept"))).resume() == 3


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 9}', '{"schema": 1, "rows": []}', "\x00"])
def test_a_damaged_journal_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(InputError, match="this is no sweep"):
        journal(tmp_path).resume()


def test_a_process_that_dies_costs_one_cell(tmp_path: Path) -> None:
    wanted = cells("resnest50", "resnest101", precisions=[Precision.FP32, Precision.INT8])
    rows = sweep(wanted, SETTINGS, journal(tmp_path), LocalCells(dies_of_int8))
    assert [row.status for row in rows] == ["done", "failed", "done", "failed"]
    assert "died" in (rows[1].reason or "")
    assert rows[0].node != rows[2].node  # a new process went on


def test_an_interrupt_ends_the_process_and_its_scratch_files() -> None:
    process = local_cells._Process(measured)
    scratch = Path(process._scratch.name)
    assert process.row(cells("resnest50")[0], SETTINGS) is not None
    assert scratch.is_dir()
    process.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert process._process.exitcode == -signal.SIGKILL
    assert not scratch.exists()


@pytest.mark.slow
def test_a_cell_is_built_and_measured(tmp_path: Path) -> None:
    settings = replace(SETTINGS, weights=None, plan=replace(SETTINGS.plan, batches=(1, 2)), engines=tmp_path)
    fp32, fp16 = (
        run_cell(Cell("resnest-demo", 32, Form.SPLIT, Target.ONNXRUNTIME, precision), settings)
        for precision in (Precision.FP32, Precision.FP16)
    )
    assert (fp32.status, fp32.reason, fp32.exit_code) == (
        "done",
        "no --eval-images were given: accuracy was not measured",
        0,
    )
    assert [result["batch"] for result in fp32.results] == [1, 2]
    assert all(result["images_per_second"] > 0 for result in fp32.results)
    assert fp32.size_mib and fp32.size_mib > 1
    assert (tmp_path / fp32.key / "manifest.json").is_file()
    assert (fp16.status, fp16.exit_code, fp16.results) == ("failed", 2, ())
    assert "FP16" in (fp16.reason or "")


def test_the_table_and_its_files(tmp_path: Path) -> None:
    kept = journal(tmp_path)
    rows = sweep(cells("resnest50"), SETTINGS, kept, Here(refuses_fp16))
    table = sweep_table(rows)
    assert table.headings == (
        *("Network", "Target", "Precision", "Median latency", "Best throughput", "Size", "Build", "Failed"),
    )
    assert [row[-1].value for row in table.rows] == ["–", "no FP16 here", "–"]
    text = render_markdown(kept.file(), rows)
    assert "1 of 3 cells failed" in text and "| resnest50 224<br><sub>split</sub> |" in text
    write_pages(kept.file(), rows, tmp_path)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "sweep.csv").read_text(encoding="utf-8"))))
    assert tuple(lines[0]) == CSV_COLUMNS
    assert [line["status"] for line in lines] == ["done", "failed", "done"]
    assert (lines[0]["images_per_second"], lines[1]["reason"]) == ("500.0", "no FP16 here")


def test_rows_of_several_nodes_name_them() -> None:
    one, two = cells("resnest50", precisions=[Precision.FP32, Precision.INT8])
    rows = [measured(one, SETTINGS, "left"), measured(two, SETTINGS, "right")]
    table = sweep_table(rows)
    assert [row[table.headings.index("Node")].value for row in table.rows] == ["left", "right"]


def test_the_journal_keeps_to_the_published_schema(tmp_path: Path) -> None:
    kept = journal(tmp_path)
    sweep(cells("resnest50"), SETTINGS, kept, Here(refuses_fp16))
    schema = json.loads((FOLDER / "sweep-1.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads(kept.path.read_text(encoding="utf-8")))
