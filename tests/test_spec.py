"""The frozen values: what they refuse, and their way to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.errors import InputError, UsageError
from resnest_edge.spec import (
    BatchRange,
    Form,
    GraphInfo,
    InputFormat,
    Interpolation,
    Precision,
    Preprocessing,
    QdqStyle,
    ResizeMode,
    Target,
)
from tests.support.forms import forms

ranges = st.lists(st.integers(1, 4096), min_size=3, max_size=3).map(lambda values: BatchRange(*sorted(values)))
triples = st.tuples(*[st.floats(1e-6, 10)] * 3)


@st.composite
def preprocessings(draw: st.DrawFn) -> Preprocessing:
    size, mode = draw(st.integers(1, 1024)), draw(st.sampled_from(list(ResizeMode)))
    return Preprocessing(
        image_size=size,
        resize=size if mode is ResizeMode.SQUASH else size + draw(st.integers(0, 512)),
        mode=mode,
        interpolation=draw(st.sampled_from(list(Interpolation))),
        mean=draw(triples),
        std=draw(triples),
        color=draw(st.sampled_from(["rgb", "bgr"])),
    )


infos = st.builds(
    GraphInfo,
    name=st.text(),
    precision=st.sampled_from(list(Precision)),
    float_type=st.sampled_from(list(Precision)),
    style=st.none() | st.sampled_from(list(QdqStyle)),
    weight_bits=st.sampled_from([7, 8]),
    input_format=st.sampled_from(list(InputFormat)),
    batch=ranges,
    image_size=st.integers(1, 1024),
    num_classes=st.integers(1, 20000),
    form=st.none() | forms,
)


def info() -> dict[str, Any]:
    """A good graph description, as a manifest holds it."""
    return GraphInfo(
        "resnest50",
        Precision.INT8,
        Precision.FP32,
        QdqStyle.CPU,
        8,
        InputFormat.UINT8_NHWC,
        BatchRange(1, 2, 4),
        224,
        10,
    ).to_json()


@pytest.mark.parametrize("word", [*Precision, *Target, *InputFormat, *Interpolation, *ResizeMode, *QdqStyle])
def test_words_print_as_the_user_types_them(word: Precision) -> None:
    assert str(word) == f"{word}" == word.value
    assert type(word)(word.value) is word


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", (1, 1, 1)), ("8", (8, 8, 8)), ("1:8:32", (1, 8, 32)), ("4:4:4", (4, 4, 4)), ("007", (7, 7, 7))],
)
def test_batch_is_parsed(text: str, expected: tuple[int, int, int]) -> None:
    assert BatchRange.parse(text) == BatchRange(*expected)


@pytest.mark.parametrize(
    "text",
    ["", ":", "a", "1:2", "1:2:3:4", "1::3", " 1", "1 ", "+1", "-1", "1.0", "0x8", "1,2,3", "²", "٣", "1:2:b", "1_0"],
)
def test_batch_that_is_no_number_or_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not N or MIN:OPT:MAX.*1:8:32"):
        BatchRange.parse(text)


@pytest.mark.parametrize("text", ["0", "0:1:2", "2:1:4", "1:4:2", "3:2:1"])
def test_batch_out_of_order_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a range"):
        BatchRange.parse(text)


def test_absurdly_long_batch_is_refused() -> None:
    """Python itself refuses to convert 5,000 digits, with a ValueError that would end as a bug."""
    with pytest.raises(UsageError, match="is not N or"):
        BatchRange.parse("9" * 5000)


@given(ranges)
def test_batch_prints_as_it_is_parsed(batch: BatchRange) -> None:
    assert BatchRange.parse(str(batch)) == batch
    assert batch.fixed == (batch.minimum == batch.maximum) == (":" not in str(batch))


@given(preprocessings())
def test_preprocessing_survives_json(value: Preprocessing) -> None:
    assert Preprocessing.from_json(json.loads(json.dumps(value.to_json()))) == value


def test_json_holds_plain_words() -> None:
    """Not members of our enums, which other serialisers than json's would not take."""
    assert {type(value) for value in info().values()} == {str, int, type(None)}
    assert {type(value) for value in Preprocessing().to_json().values()} == {str, int, tuple}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 0}, "do not fit"),
        ({"image_size": -1, "resize": -1}, "do not fit"),
        ({"resize": 223}, "do not fit"),
        ({"mode": ResizeMode.SQUASH}, "squashing"),
        ({"color": "hsv"}, "rgb or bgr"),
        ({"mean": (0.5, 0.5)}, "three values"),
        ({"std": (0.5, 0.5, 0.5, 0.5)}, "three values"),
        ({"std": (0.5, 0.0, 0.5)}, "above zero"),
        ({"std": (0.5, -1.0, 0.5)}, "above zero"),
        ({"std": (math.nan, 0.5, 0.5)}, "above zero"),
        ({"std": (0.5, math.inf, 0.5)}, "above zero"),
        ({"mean": (math.nan, 0.5, 0.5)}, "finite"),
        ({"mean": (0.5, -math.inf, 0.5)}, "finite"),
    ],
)
def test_impossible_preprocessing_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(Preprocessing(), **change)


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": None},
        {"image_size": "large"},
        {"image_size": math.inf},
        {"image_size": 500},
        {"mode": "stretch"},
        {"interpolation": "nearest"},
        {"mean": [0.5, 0.5]},
        {"mean": 0.5},
        {"std": [0, 1, 1]},
        {"std": ["a", "b", "c"]},
        {"color": "grey"},
    ],
    ids=str,
)
def test_damaged_preprocessing_is_an_input_error(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="preprocessing cannot be read"):
        Preprocessing.from_json({**Preprocessing().to_json(), **change})


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Preprocessing)])
def test_preprocessing_without_a_key_is_an_input_error(key: str) -> None:
    value = Preprocessing().to_json()
    del value[key]
    with pytest.raises(InputError, match=key):
        Preprocessing.from_json(value)


@given(infos)
def test_graph_info_survives_json(value: GraphInfo) -> None:
    assert GraphInfo.from_json(json.loads(json.dumps(value.to_json()))) == value


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "fp8"},
        {"float_type": None},
        {"style": "tensorrt"},
        {"weight_bits": "eight"},
        {"weight_bits": math.inf},
        {"input_format": "nchw"},
        {"batch": "4:2:1"},
        {"batch": "many"},
        {"batch": [1, 2, 4]},
        {"image_size": []},
        {"num_classes": None},
        {"form": "fused"},
    ],
    ids=str,
)
def test_damaged_graph_info_is_an_input_error(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="graph description cannot be read"):
        GraphInfo.from_json({**info(), **change})


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(GraphInfo)])
def test_graph_info_without_a_key_is_an_input_error(key: str) -> None:
    value = info()
    del value[key]
    with pytest.raises(InputError, match=key):
        GraphInfo.from_json(value)


@pytest.mark.parametrize("value", [None, [], "text", 3], ids=str)
def test_json_of_another_kind_is_an_input_error(value: Any) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Preprocessing.from_json(value)
    with pytest.raises(InputError, match="cannot be read"):
        GraphInfo.from_json(value)


@pytest.mark.parametrize("word", ["split", "grouped", "dense"])
def test_bundles_of_one_form_for_all_stages_still_read(word: str) -> None:
    """What manifests held before stages had forms of their own."""
    read = GraphInfo.from_json({**info(), "form": word})
    assert read.form == Form.parse(word) and read.to_json()["form"] == word


@pytest.mark.parametrize("word", ["splat", "split/dense", ["split"], {"stages": ["split"]}])
def test_an_unknown_form_in_a_manifest_is_refused(word: object) -> None:
    with pytest.raises(InputError, match="graph description cannot be read"):
        GraphInfo.from_json({**info(), "form": word})
