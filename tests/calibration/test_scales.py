"""Scales as a file: what is written is read back, and nothing else is ever taken for scales."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.calibration.deltas import pack_deltas
from resnest_edge.calibration.scales import SCHEMA, Scales, TensorRange
from resnest_edge.errors import OutputError, ScalesError
from resnest_edge.spec import Precision, QdqStyle

GRAPH, IMAGES = "a" * 64, "b" * 64
SCALES = Scales(
    GRAPH,
    IMAGES,
    512,
    "mse",
    QdqStyle.PORTABLE,
    {"images": TensorRange(-2.1, 2.6, -2.0, 2.5), "x": TensorRange(0, 9, 0, 8)},
    {"conv": (0.25, -0.5)},
    8,
    "max",
    {"conv.weight": pack_deltas(np.array([0, 1, 0, -1, 0, 0], np.int8))},
    Precision.FP16,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
spans = st.tuples(finite, finite).map(lambda pair: tuple(sorted(pair)))
tensor_ranges = st.tuples(spans, spans).map(lambda pair: TensorRange(*pair[0], *pair[1]))
all_scales = st.builds(
    Scales,
    graph_digest=st.text(),
    images_digest=st.text(),
    images=st.integers(1, 10**6),
    method=st.sampled_from(["max", "mse"]),
    style=st.sampled_from(list(QdqStyle)),
    ranges=st.dictionaries(st.text(), tensor_ranges, max_size=4),
    corrections=st.dictionaries(st.text(), st.lists(finite, max_size=3).map(tuple), max_size=2),
    weight_bits=st.sampled_from([None, 7, 8]),
    weight_scales=st.sampled_from(["max", "mse"]),
    rounding=st.dictionaries(
        st.text(), st.lists(st.integers(-128, 127), max_size=9).map(lambda d: pack_deltas(np.array(d, np.int8)))
    ),
    float_type=st.sampled_from([None, Precision.FP32, Precision.FP16, Precision.BF16]),
)


@given(all_scales)
def test_what_is_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, scales: Scales) -> None:
    path = tmp_path_factory.mktemp("scales") / "scales.json"
    scales.save(path)
    assert Scales.load(path) == scales


def test_the_file_is_readable_json_and_written_whole(tmp_path: Path) -> None:
    SCALES.save(tmp_path / "scales.json")
    text = (tmp_path / "scales.json").read_text()
    assert text.endswith("}\n")
    value = json.loads(text)
    assert value["schema"] == SCHEMA
    assert value["style"] == "portable"
    assert value["ranges"]["x"] == {"minimum": 0, "maximum": 9, "low": 0, "high": 8}
    assert [path.name for path in tmp_path.iterdir()] == ["scales.json"]


def test_an_unwritable_place_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        SCALES.save(tmp_path / "file" / "scales.json")


def test_scales_fit_their_own_graph() -> None:
    SCALES.check_graph(GRAPH, QdqStyle.PORTABLE, 8, Precision.FP16)


def test_scales_of_another_graph_are_refused() -> None:
    with pytest.raises(ScalesError, match=r"graph aaaaaaaaaaaa, not to this one \(cccccccccccc\).*again"):
        SCALES.check_graph("c" * 64, QdqStyle.PORTABLE, 8, Precision.FP16)


def test_scales_of_another_style_are_refused() -> None:
    with pytest.raises(ScalesError, match="for the portable Q/DQ style, this build needs cpu"):
        SCALES.check_graph(GRAPH, QdqStyle.CPU, 8, Precision.FP16)


def test_corrections_for_weights_of_another_width_are_refused() -> None:
    with pytest.raises(ScalesError, match="corrections are for 8-bit weights, this build writes 7 bits"):
        SCALES.check_graph(GRAPH, QdqStyle.PORTABLE, 7, Precision.FP16)
    plain = dataclasses.replace(SCALES, corrections={}, weight_bits=None)
    plain.check_graph(GRAPH, QdqStyle.PORTABLE, 7, Precision.FP16)


def test_weights_rounded_between_other_scales_are_refused_unless_those_are_exact() -> None:
    with pytest.raises(ScalesError, match=r"rounded between fp16, this build writes bf16.*--no-round-weights"):
        SCALES.check_graph(GRAPH, QdqStyle.PORTABLE, 8, Precision.BF16)
    SCALES.check_graph(GRAPH, QdqStyle.PORTABLE, 8, Precision.FP32)  # holds every FP16 number
    plain = dataclasses.replace(SCALES, rounding={}, float_type=None)
    plain.check_graph(GRAPH, QdqStyle.PORTABLE, 8, Precision.BF16)


def test_the_digest_tells_everything_apart() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"images": 5},
        {"ranges": {}},
        {"corrections": {}},
        {"weight_scales": "mse"},
        {"rounding": {}},
        {"float_type": Precision.BF16},
    ]
    digests = [dataclasses.replace(SCALES, **change).digest() for change in changes]
    assert digests[0] == SCALES.digest() and len(set(digests)) == len(changes)


def test_rounding_is_read_by_the_weights_name() -> None:
    found = SCALES.deltas("conv.weight")
    assert found is not None and found.dtype == np.int8 and found.tolist() == [0, 1, 0, -1, 0, 0]
    assert SCALES.deltas("fc.weight") is None


def good() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(json.dumps({"schema": SCHEMA, **dataclasses.asdict(SCALES)}))
    return value


def change(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda scales: {**scales, key: value}


def cut(length: int | None, more: bytes = b"") -> str:
    """The packed rounding, shortened or with something behind it."""
    return base64.b64encode(base64.b64decode(SCALES.rounding["conv.weight"])[:length] + more).decode()


def change_range(**entries: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda scales: {**scales, "ranges": {"x": {**scales["ranges"]["x"], **entries}}}


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda scales: {name: value for name, value in scales.items() if name != key}


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    **{f"no {key}": without(key) for key in good()},
    "another schema": change("schema", SCHEMA + 1),
    "a list": lambda scales: [scales],
    "null": lambda scales: None,
    "a number": lambda scales: 3,
    "a string": lambda scales: "schema",
    "an unknown style": change("style", "tensorrt"),
    "images as text": change("images", "many"),
    "images null": change("images", None),
    "images infinite": change("images", float("inf")),
    "no image": change("images", 0),
    "ranges as list": change("ranges", []),
    "ranges null": change("ranges", None),
    "corrections as list": change("corrections", [1.0]),
    "a correction as text": change("corrections", {"conv": ["high"]}),
    "an infinite correction": change("corrections", {"conv": [float("inf")]}),
    "a width as text": change("weight_bits", "eight"),
    "unknown weight scales": change("weight_scales", "min"),
    "rounding as list": change("rounding", []),
    "rounding that is no text": change("rounding", {"conv.weight": 3}),
    "rounding that is no base64": change("rounding", {"conv.weight": "not base64!"}),
    "rounding that is not compressed": change("rounding", {"conv.weight": "AAAA"}),
    "rounding cut off": change("rounding", {"conv.weight": cut(12)}),
    "something behind the rounding": change("rounding", {"conv.weight": cut(None, b"more")}),
    "an unknown float type": change("float_type", "fp8"),
    "a range as list": change("ranges", {"x": [0, 9, 0, 8]}),
    "a range as text": change("ranges", {"x": "0..9"}),
    "a range without high": change("ranges", {"x": {"minimum": 0, "maximum": 9, "low": 0}}),
    "an infinite maximum": change_range(maximum=float("inf")),
    "an infinite minimum": change_range(minimum=float("-inf")),
    "an infinite high": change_range(high=float("inf")),
    "an infinite low": change_range(low=float("-inf")),
    "low is no number": change_range(low=float("nan")),
    "high is no number": change_range(high=float("nan")),
    "maximum is no number": change_range(maximum=float("nan")),
    "a high as text": change_range(high="high"),
    "a high of null": change_range(high=None),
    "high below low": change_range(low=3.0, high=2.0),
    "maximum below minimum": change_range(minimum=3.0, maximum=2.0),
    "a number beyond float": change_range(high=10**400),
}


def test_the_undamaged_file_loads(tmp_path: Path) -> None:
    (tmp_path / "scales.json").write_text(json.dumps(good()))
    assert Scales.load(tmp_path / "scales.json") == SCALES


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_a_scales_error_that_names_it(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "scales.json"
    path.write_text(json.dumps(DAMAGE[damage](good())))
    with pytest.raises(ScalesError, match="Calibrate again") as caught:
        Scales.load(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"not JSON", b"\xff\xfe{}", b"\x00" * 100, b"[" * 100_000], ids=lambda data: repr(data[:8])
)
def test_what_is_no_json_is_a_scales_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "scales.json"
    path.write_bytes(data)
    with pytest.raises(ScalesError, match="not a scales file"):
        Scales.load(path)


def test_a_missing_file_or_a_folder_is_a_scales_error(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(ScalesError, match="not a scales file"):
            Scales.load(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scales.json"
    data = json.dumps(good()).encode()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(ScalesError):
            Scales.load(path)
