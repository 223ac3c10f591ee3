"""The check that always runs before a form is timed: equal in float64, or refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from resnest_edge.errors import ParityError
from resnest_edge.models.config import ResNeStConfig
from resnest_edge.models.inference_form import GatedSplits, InferenceResNeSt, to_inference_form
from resnest_edge.models.resnest import ResNeSt
from resnest_edge.pipeline import core
from resnest_edge.spec import Form
from tests.support.forms import forms
from tests.support.networks import randomise


def tiny() -> ResNeSt:
    torch.manual_seed(0)
    config = ResNeStConfig((1, 1, 1, 1), radix=2, cardinality=2, stem_width=4, planes=(8, 16, 16, 24))
    return randomise(ResNeSt(config, 7)).eval()


@settings(max_examples=20)
@given(forms)
def test_every_form_passes(form: Form) -> None:
    core.check_form(tiny(), form)


def slightly_wrong(model: ResNeSt, form: Form) -> InferenceResNeSt:
    """One gate's bias off by what float32 would round away."""
    made = to_inference_form(model, form)
    gate = next(module for module in made.modules() if isinstance(module, GatedSplits)).fc2
    assert isinstance(gate, torch.nn.Conv2d) and gate.bias is not None
    with torch.no_grad():
        gate.bias.add_(1e-7)
    return made


def test_an_error_that_float32_would_hide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "to_inference_form", slightly_wrong)
    with pytest.raises(ParityError, match=r"the split form is .* standard deviations .* in float64"):
        core.check_form(tiny(), Form.SPLIT)
