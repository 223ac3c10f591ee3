"""Kept measurements: what they belong to, what is refused, and what `build --tuned` takes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resnest_edge import environment
from resnest_edge.backends.onnxruntime import ONNXRuntimeBackend
from resnest_edge.errors import InputError
from resnest_edge.pipeline import tuned as tuned_module
from resnest_edge.pipeline.choice import Choice
from resnest_edge.pipeline.plan import BuildRequest, Job
from resnest_edge.pipeline.sources import Source, find_source
from resnest_edge.pipeline.tuned import choose_tuned
from resnest_edge.pipeline.tunings import (
    Device,
    Record,
    load_record,
    make_key,
    record_of,
    record_path,
    save_record,
    shipped_records,
)
from resnest_edge.spec import BatchRange, Form, Precision, Target
from tests.support.tunings import KEY, MIXED, RECORD

pytest.importorskip("onnxruntime", reason="its version is part of a key")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESNEST_EDGE_CACHE", str(tmp_path / "cache"))


def test_a_record_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    assert load_record(KEY) is None
    path = save_record(RECORD)
    assert path.parent == tmp_path / "cache" / "tuning"
    assert path.name.startswith("resnest50-224-openvino-int8-batch1-")
    assert load_record(KEY) == RECORD
    assert RECORD.choice == Choice(Form.parse(MIXED))
    assert list(path.parent.iterdir()) == [path], "nothing half-written is left"


CHANGES: list[dict[str, Any]] = [
    {"network": "resnest101"},
    {"image_size": 256},
    {"target": "onnxruntime"},
    {"runtime": "2026.5.0"},
    {"precision": "bf16"},
    {"batch": 8},
    {"threads": 1},
    {"device": replace(KEY.device, name="Intel Xeon")},
    {"device": replace(KEY.device, kind="avx2")},
    {"device": replace(KEY.device, cores=64)},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "-".join(change))
def test_what_was_measured_elsewhere_is_not_found(change: dict[str, Any]) -> None:
    save_record(RECORD)
    other = replace(KEY, **change)
    assert other.file_name != KEY.file_name
    assert load_record(other) is None


def damaged(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        value = json.loads(data)
        found = change(value)
        return json.dumps(value if found is None else found).encode()

    return apply


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda data: data[: len(data) // 2],
    "not json": lambda _: b"\x00\xff",
    "a list": lambda _: b"[]",
    "deep": lambda _: b"[" * 100_000,
    "schema": damaged(lambda value: value.update(schema=2)),
    "no form": damaged(lambda value: value.pop("form")),
    "form": damaged(lambda value: value.update(form="splat")),
    "placement": damaged(lambda value: value.update(placement=["outputs=some"])),
    "ratio": damaged(lambda value: value.update(ratio="0.9")),
    "trial": damaged(lambda value: value["trials"][0].update(ms=None)),
    "another key": damaged(lambda value: value["key"].update(batch=8)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_record_is_refused_by_name_and_left(name: str) -> None:
    path = save_record(RECORD)
    broken = DAMAGE[name](path.read_bytes())
    path.write_bytes(broken)
    with pytest.raises(InputError) as caught:
        load_record(KEY)
    assert str(path) in str(caught.value) and "--force" in str(caught.value)
    assert path.read_bytes() == broken
    save_record(RECORD)
    assert load_record(KEY) == RECORD


def test_a_folder_in_its_place_is_refused() -> None:
    record_path(KEY).mkdir(parents=True)
    with pytest.raises(InputError, match="cannot be read"):
        load_record(KEY)


def demo() -> Source:
    return find_source(None)


def job(precision: Precision = Precision.FP32) -> Job:
    return Job(ONNXRuntimeBackend(), precision, Path("out"))


def kept_for_demo(**changes: Any) -> Record:
    record = replace(RECORD, key=make_key(demo(), Target.ONNXRUNTIME, Precision.FP32, 1), **changes)
    save_record(record)
    return record


def test_a_key_tells_this_machine_and_network() -> None:
    key = make_key(demo(), Target.ONNXRUNTIME, Precision.INT8, 4, threads=1)
    assert (key.network, key.image_size, key.precision, key.batch, key.threads) == ("resnest-demo", 96, "int8", 4, 1)
    assert key.runtime == ONNXRuntimeBackend().version()
    assert key.device == Device(environment.cpu_name(), " ".join(environment.cpu_isa()), environment.usable_cores())


def test_a_network_whose_name_says_no_shape_is_told_by_its_digest() -> None:
    first, second = (
        replace(demo(), name="resnest-custom", parents={"checkpoint": letter * 64}) for letter in ("a", "b")
    )
    keys = [make_key(source, Target.ONNXRUNTIME, Precision.FP32, 1).network for source in (first, second)]
    assert keys == ["resnest-custom-" + "a" * 12, "resnest-custom-" + "b" * 12]


def test_a_build_takes_what_was_measured_here() -> None:
    kept_for_demo()
    jobs, (told,) = choose_tuned(BuildRequest(), demo(), [job()])
    assert [str(one.choice) for one in jobs] == [MIXED]
    assert f"onnxruntime fp32: {MIXED}, measured here: 0.900 of the time of split (2026-01-02" in told
    assert str(record_path(make_key(demo(), Target.ONNXRUNTIME, Precision.FP32, 1))) in told


def test_another_batch_is_another_measurement() -> None:
    kept_for_demo()
    asked = BuildRequest(batch=BatchRange.parse("1:4:8"), form=Form.GROUPED)
    (found,), (told,) = choose_tuned(asked, demo(), [job()])
    assert found.choice == Choice(Form.GROUPED)
    assert "nothing was measured for resnest-demo at 96 pixels and batch 4 here: the grouped form" in told


def test_each_job_has_its_own() -> None:
    kept_for_demo()
    jobs, notes = choose_tuned(BuildRequest(), demo(), [job(), job(Precision.INT8)])
    assert [str(one.choice.form) for one in jobs] == [MIXED, "split"]
    assert [note.partition(":")[0] for note in notes] == ["onnxruntime fp32", "onnxruntime int8"]


def test_a_placement_belongs_to_its_weights() -> None:
    own = demo().parents["checkpoint"]
    kept_for_demo(placement=("first=float",), weights=own, max_loss_db=0.5)
    (found,), _ = choose_tuned(BuildRequest(), demo(), [job()])
    assert found.choice.placement == ("first=float",)
    kept_for_demo(placement=("first=float",), weights="0" * 64, max_loss_db=0.5)
    (found,), (told,) = choose_tuned(BuildRequest(), demo(), [job()])
    assert found.choice == Choice(Form.parse(MIXED)) and "held to a bound with other weights" in told


def test_int8_whose_answers_nobody_compared_is_told() -> None:
    own = demo().parents["checkpoint"]
    for weights, told_of in ((None, True), (own, False)):
        key = make_key(demo(), Target.ONNXRUNTIME, Precision.INT8, 1)
        save_record(replace(RECORD, key=key, weights=weights))
        _, (told,) = choose_tuned(BuildRequest(), demo(), [job(Precision.INT8)])
        assert ("in INT8 its answers were not compared yet" in told) is told_of


def test_a_damaged_record_ends_a_build() -> None:
    record_path(kept_for_demo().key).write_bytes(b"{}")
    with pytest.raises(InputError, match="this tuning is damaged"):
        choose_tuned(BuildRequest(), demo(), [job()])


def shipped(monkeypatch: pytest.MonkeyPatch, **device: Any) -> None:
    key = make_key(demo(), Target.ONNXRUNTIME, Precision.FP32, 1)
    record = replace(RECORD, key=replace(key, runtime="1.0", device=replace(key.device, **device)))
    monkeypatch.setattr(tuned_module, "shipped_records", lambda: [record])


def test_without_one_the_shipped_table_is_asked_and_told_with_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped(monkeypatch, name="Another CPU")
    (found,), (told,) = choose_tuned(BuildRequest(), demo(), [job()])
    assert str(found.choice) == MIXED
    assert "from the shipped table: 0.900 of the time of split on Another CPU" in told
    assert f"here on {environment.cpu_name()}" in told and f"version {ONNXRuntimeBackend().version()}" in told


def test_the_table_of_another_kind_of_processor_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped(monkeypatch, kind="another kind")
    (found,), (told,) = choose_tuned(BuildRequest(), demo(), [job()])
    assert found.choice == Choice(Form.SPLIT) and "nothing was measured" in told


def test_what_was_measured_here_goes_before_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped(monkeypatch)
    kept_for_demo(form="dense", ratio=None, ratio_ci95=None)
    (found,), (told,) = choose_tuned(BuildRequest(), demo(), [job()])
    assert found.choice == Choice(Form.DENSE) and "nothing was faster than split" in told


def test_the_shipped_table_reads_and_holds_forms_that_were_measured() -> None:
    records = shipped_records()
    keys = [record.key for record in records]
    assert len(set(keys)) == len(keys)
    for record in records:
        assert record_of(json.loads(json.dumps(record.to_json()))) == record
        assert record.placement == (), "a placement belongs to its weights"
        assert record.command is not None and record.command.startswith("resnest-edge tune ")
        assert record.trials and record.versions and record.created
        chosen = [trial for trial in record.trials if trial.chosen]
        assert (record.ratio is not None) == (record.form != record.begun_with)
        assert record.ratio is None or chosen[-1].ratio == record.ratio < 0.99
