"""The published variants: counted on the networks themselves, named without guessing."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from resnest_edge.errors import UsageError
from resnest_edge.models.config import Cost, ResNeStConfig, cost_of
from resnest_edge.models.resnest import ResNeSt
from resnest_edge.models.variants import VARIANTS, Variant, custom, find_variant, parse_custom
from resnest_edge.spec import Interpolation, ResizeMode

# Millions of parameters as published: timm's results-imagenet.csv, and ablation.md of github.com/zhanghang1989/ResNeSt.
PUBLISHED_MILLIONS = {
    "resnest14d": 10.61,
    "resnest26d": 17.07,
    "resnest50": 27.48,
    "resnest101": 48.28,
    "resnest200": 70.20,
    "resnest269": 110.93,
    "resnest50_fast_1s1x64d": 26.3,
    "resnest50_fast_2s1x64d": 27.5,
    "resnest50_fast_4s1x64d": 31.9,
    "resnest50_fast_1s2x40d": 25.9,
    "resnest50_fast_2s2x40d": 26.9,
    "resnest50_fast_4s2x40d": 30.4,
    "resnest50_fast_1s4x24d": 25.7,
}


def counted(config: ResNeStConfig, image_size: int, num_classes: int = 1000) -> Cost:
    """Parameters and multiply-accumulates of the built network, layer by layer, on PyTorch's shapes alone."""
    with torch.device("meta"):
        network = ResNeSt(config, num_classes).eval()
        images = torch.empty(1, 3, image_size, image_size)
    macs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        assert isinstance(module.weight, Tensor)
        macs += output.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network(images)
    return Cost(sum(parameter.numel() for parameter in network.parameters()), macs)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=lambda variant: str(variant.name))
def test_the_network_has_the_cost_listed(variant: Variant) -> None:
    assert Cost(variant.parameters, variant.macs) == counted(variant.config, variant.image_size)


@settings(max_examples=20)  # PyTorch takes a tenth of a second for each
@given(
    radix=st.sampled_from([0, 1, 2, 4]),
    cardinality=st.sampled_from([1, 2, 4]),
    size=st.integers(17, 80),
    avd_first=st.booleans(),
    stem_width=st.sampled_from([2, 8, 16]),
    classes=st.integers(1, 5),
)
def test_cost_of_any_shape(
    radix: int, cardinality: int, size: int, avd_first: bool, stem_width: int, classes: int
) -> None:
    config = ResNeStConfig(
        (1, 2, 1, 2), radix, cardinality, stem_width=stem_width, avd_first=avd_first, planes=(8, 16, 16, 24)
    )
    assert cost_of(config, size, classes) == counted(config, size, classes)


def test_costs_agree_with_what_was_published() -> None:
    assert PUBLISHED_MILLIONS.keys() == VARIANTS.keys()
    for name, millions in PUBLISHED_MILLIONS.items():
        # The last digit may be cut or rounded: ablation.md has 26.3 for 26.22 million.
        assert VARIANTS[name].parameters / 1e6 == pytest.approx(millions, abs=0.1)
    published = {name: gmacs for name, variant in VARIANTS.items() if (gmacs := variant.published_gmacs) is not None}
    assert len(published) == 10
    for name, gmacs in published.items():
        assert VARIANTS[name].published_gmacs_source
        # Theirs count some of what stands between the convolutions too: up to 1 % more.
        assert 0 <= gmacs - VARIANTS[name].macs / 1e9 < 0.01 * gmacs


def test_names_and_aliases_are_unique_and_resolve() -> None:
    names = [name for variant in VARIANTS.values() for name in (variant.name, *variant.aliases)]
    assert len(names) == len(set(names))
    for variant in VARIANTS.values():
        assert all(find_variant(name) is variant for name in (variant.name, *variant.aliases))
    timm = "resnest50d resnest101e resnest200e resnest269e resnest50d_4s2x40d resnest50d_1s4x24d resnest14d resnest26d"
    assert set(timm.split()) <= set(names)


def test_shapes_are_all_different() -> None:
    assert len({variant.config for variant in VARIANTS.values()}) == len(VARIANTS)


@pytest.mark.parametrize(
    ("mistyped", "meant"), [("resnest5O", "resnest50"), ("ResNeSt-101", "resnest101"), ("resnet50", "resnest50")]
)
def test_a_mistyped_name_is_an_error_that_lists_near_ones(mistyped: str, meant: str) -> None:
    with pytest.raises(UsageError, match=mistyped) as caught:
        find_variant(mistyped)
    assert meant in str(caught.value.hint)


@pytest.mark.parametrize("name", ["", "vgg", "resnest50 ", "RESNEST50", "2s1x64", "2s0x64d", "٢s1x64d", "2s1x64d\n"])
def test_nothing_is_taken_for_another_name(name: str) -> None:
    with pytest.raises(UsageError, match="no variant is called"):
        find_variant(name)


@pytest.mark.parametrize("name", ["8s2x32d", "resnest50_fast_8s2x32d"])
def test_a_custom_name_says_its_shape(name: str) -> None:
    variant = find_variant(name)
    assert variant == parse_custom(name)
    assert variant.name == "resnest50_fast_8s2x32d"
    assert variant.config == ResNeStConfig((3, 4, 6, 3), radix=8, cardinality=2, bottleneck_width=32, avd_first=True)
    assert variant.top1 is None and variant.top1_source is None
    assert Cost(variant.parameters, variant.macs) == counted(variant.config, 224)


def test_a_custom_name_of_a_published_shape_is_the_published_variant() -> None:
    assert parse_custom("4s2x40d") is VARIANTS["resnest50_fast_4s2x40d"]
    assert parse_custom("resnest50") is None


def test_any_other_network() -> None:
    variant = custom(2, 1, 64, (1, 1, 1, 1), stem_width=16, planes=(16, 32, 64, 128), image_size=96)
    assert variant.config == ResNeStConfig((1, 1, 1, 1), stem_width=16, planes=(16, 32, 64, 128))
    assert variant.preprocessing.resize == 128
    assert Cost(variant.parameters, variant.macs) == counted(variant.config, 96)
    assert custom(4, 2, 40).config == ResNeStConfig((3, 4, 6, 3), 4, 2, 40)
    assert not variant.downloads and variant.top1 is None and variant.published_gmacs is None
    with pytest.raises(UsageError):
        custom(2, 0, 64)


@pytest.mark.parametrize("name", ["1s3x40d", "2s1x0d", "2s2x0d"])
def test_a_custom_shape_that_cannot_be_built(name: str) -> None:
    with pytest.raises(UsageError):
        find_variant(name)


def test_preprocessing_is_what_the_accuracy_was_measured_with() -> None:
    for variant in VARIANTS.values():
        preprocessing = variant.preprocessing
        if variant.name in ("resnest14d", "resnest26d"):
            assert (preprocessing.mode, preprocessing.resize) == (ResizeMode.SHORTER_SIDE, 256)
            assert preprocessing.interpolation is Interpolation.BILINEAR
        else:
            assert preprocessing.mode is ResizeMode.CENTER_THEN_RESIZE
            assert preprocessing.resize == variant.image_size + 32
            assert preprocessing.interpolation is Interpolation.BICUBIC


def test_json_is_whole() -> None:
    value = json.loads(json.dumps(VARIANTS["resnest50"].to_json()))
    assert value["aliases"] == ["resnest50d"]
    assert value["config"]["layers"] == [3, 4, 6, 3]
    assert (value["parameters"], value["image_size"], value["top1"]) == (27_483_240, 224, 81.03)
    assert "README" in value["top1_source"]
    assert [download["source"] for download in value["downloads"]] == ["authors", "timm", "hub"]
    assert all(variant.top1 is None or variant.top1_source for variant in VARIANTS.values())
