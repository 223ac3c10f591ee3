"""Inference forms for Hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from resnest_edge.forms import Form, StageForm

stage_forms = st.sampled_from(list(StageForm))
forms = st.builds(Form, st.tuples(stage_forms, stage_forms, stage_forms, stage_forms), st.booleans())
"""Every inference form there is: four stages, and where they pool."""
