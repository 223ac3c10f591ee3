"""What weights tell of their network: its shape, its classes, its name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from resnest_edge.errors import CheckpointError
from resnest_edge.models.recognise import infer_config, infer_num_classes, infer_variant
from resnest_edge.models.resnest import ResNeSt, ResNeStConfig
from resnest_edge.models.variants import VARIANTS, Variant

TINY = ResNeStConfig((1, 2, 1, 1), stem_width=4, planes=(8, 16, 16, 24))


def shapes_of(variant: Variant, num_classes: int = 3) -> dict[str, Tensor]:
    with torch.device("meta"):
        return ResNeSt(variant.config, num_classes).state_dict()


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: str(variant.name))
def test_shapes_tell_the_variant(variant: Variant) -> None:
    state = shapes_of(variant)
    if variant.name == "resnest50_fast_2s1x64d":  # but for where it pools, which weights do not show, a resnest50
        assert infer_variant(state) is VARIANTS["resnest50"]
        return
    assert infer_config(state) == variant.config
    assert infer_variant(state) is variant
    assert infer_num_classes(state) == 3


@settings(max_examples=25)
@given(
    radix=st.sampled_from([0, 1, 2, 4]),
    cardinality=st.sampled_from([1, 2, 4]),
    width=st.sampled_from([32, 64, 96, 160]),
    stem_width=st.integers(1, 8),
    layers=st.tuples(*[st.integers(1, 3)] * 4),
)
def test_shapes_tell_the_config(
    radix: int, cardinality: int, width: int, stem_width: int, layers: tuple[int, int, int, int]
) -> None:
    config = ResNeStConfig(
        layers, radix, cardinality, width, stem_width, (radix, cardinality) != (2, 1), planes=(8, 16, 32, 64)
    )
    with torch.device("meta"):
        assert infer_config(ResNeSt(config, 2).state_dict()) == config


def test_shapes_of_a_network_of_ones_own() -> None:
    state = ResNeSt(TINY, 5).state_dict()
    assert infer_config(state) == TINY
    assert infer_variant(state) is None


@pytest.mark.parametrize("lost", ["layer1.0.conv1.weight", "layer3.0.conv3.weight", "conv1.0.weight"])
def test_weights_of_another_network_are_no_resnest(lost: str) -> None:
    state = ResNeSt(TINY, 5).state_dict()
    del state[lost]
    with pytest.raises(CheckpointError, match="not those of a ResNeSt"):
        infer_config(state)
    with pytest.raises(CheckpointError, match="not those of a ResNeSt"):
        infer_config({"features.0.weight": torch.zeros(3, 3)})


def test_a_backbone_has_no_classes() -> None:
    with pytest.raises(CheckpointError, match="no classifier"):
        infer_num_classes(ResNeSt(TINY, features_only=True).state_dict())
