"""Forms as words: what is read, what is written, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given

from resnest_edge.errors import UsageError
from resnest_edge.forms import UNIFORM, Form, StageForm
from tests.support.forms import forms

SPLIT, DENSE = StageForm.SPLIT, StageForm.DENSE


@given(forms)
def test_a_form_reads_as_it_is_written(form: Form) -> None:
    assert Form.parse(str(form)) == form


def test_each_stage_form_alone_stands_for_all_four_stages() -> None:
    assert [str(form) for form in UNIFORM] == ["split", "split-dense", "grouped", "dense"]
    assert all(set(form.stages) == {stage} for form, stage in zip(UNIFORM, StageForm, strict=True))
    assert not any(form.early_pool for form in UNIFORM)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("split", Form.SPLIT),
        ("split,split,split,split", Form.SPLIT),
        ("split/split/dense/split", Form((SPLIT, SPLIT, DENSE, SPLIT))),
        ("split,split,dense,split+early-pool", Form((SPLIT, SPLIT, DENSE, SPLIT), early_pool=True)),
        ("dense+early-pool", Form((DENSE,) * 4, early_pool=True)),
    ],
)
def test_forms_are_read(text: str, form: Form) -> None:
    assert Form.parse(text) == form


@pytest.mark.parametrize(
    "text",
    [
        *("", "+early-pool", "Split", "split/dense", "split/split/split", "split/split/split/split/split"),
        *("split/split/dense/", "split+", "split+late-pool", "split +early-pool", "split+early-pool+early-pool"),
        "split;split;split;split",
    ],
)
def test_what_is_no_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not known. Use one of split, split-dense, grouped, dense, or"):
        Form.parse(text)
