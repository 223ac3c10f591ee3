"""The inference form: another network with the same answers. The oracle is the training form, in float64."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from resnest_edge.forms import UNIFORM, Form, StageForm
from resnest_edge.models.config import ResNeStConfig
from resnest_edge.models.inference_form import (
    InferenceBottleneck,
    InferenceResNeSt,
    InferenceSplitAttention,
    to_inference_form,
)
from resnest_edge.models.resnest import ResNeSt, SplitAttention
from resnest_edge.models.variants import VARIANTS
from tests.support.forms import forms
from tests.support.networks import randomise

# Both forms compute in float64, so what is left is rounding: about 1e-13 over a dozen layers; a wrong term is 1e-2.
TOLERANCE = 1e-6
FORMS = [*UNIFORM, Form.parse("split/dense/grouped/split-dense+early-pool")]


def tiny(
    radix: int,
    cardinality: int,
    *,
    layers: tuple[int, int, int, int] = (1, 2, 1, 1),
    avd_first: bool = False,
    dilation: int = 1,
    features_only: bool = False,
    seed: int = 0,
) -> ResNeSt:
    torch.manual_seed(seed)
    config = ResNeStConfig(
        layers, radix=radix, cardinality=cardinality, avd_first=avd_first, stem_width=4, planes=(8, 16, 16, 24)
    )
    network = ResNeSt(config, 11, dilation=dilation, features_only=features_only)
    return randomise(network.double(), seed).eval()


def pictures(size: int, *, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance(reference: Tensor, candidate: Tensor) -> float:
    """Largest difference over the standard deviation of the reference."""
    assert reference.shape == candidate.shape
    return float((reference - candidate).abs().max() / reference.std())


@torch.no_grad()
def logit_distance(network: ResNeSt, inference: nn.Module, images: Tensor) -> float:
    return distance(cast(Tensor, network(images)), cast(Tensor, inference(images)))


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("cardinality", [1, 2, 4])
@pytest.mark.parametrize("radix", [0, 1, 2, 4])
def test_logits_equal_the_training_form(radix: int, cardinality: int, form: Form) -> None:
    network = tiny(radix, cardinality)
    assert logit_distance(network, to_inference_form(network, form), pictures(32)) < TOLERANCE


@settings(max_examples=40)
@given(
    radix=st.sampled_from([0, 1, 2, 4]),
    cardinality=st.sampled_from([1, 2, 4]),
    size=st.integers(17, 49),
    avd_first=st.booleans(),
    form=forms,
    dilation=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 99),
)
def test_logits_equal_the_training_form_anywhere(
    radix: int, cardinality: int, size: int, avd_first: bool, form: Form, dilation: int, seed: int
) -> None:
    network = tiny(radix, cardinality, avd_first=avd_first, dilation=dilation, seed=seed)
    inference = to_inference_form(network, form)
    assert logit_distance(network, inference, pictures(size, seed=seed)) < TOLERANCE


SMALL = ("resnest14d", "resnest26d")


@pytest.mark.parametrize(
    "name", [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
)
def test_every_published_variant(name: str) -> None:
    torch.manual_seed(0)
    network = randomise(ResNeSt(VARIANTS[name].config, 10).double()).eval()
    for form in FORMS if name in SMALL else (Form.SPLIT,):
        assert logit_distance(network, to_inference_form(network, form), pictures(64, batch=1)) < TOLERANCE


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("dilation", "strides"), [(1, (4, 8, 16, 32)), (2, (4, 8, 16, 16)), (4, (4, 8, 8, 8))])
def test_features_equal_the_training_form(dilation: int, strides: tuple[int, ...], form: Form) -> None:
    network = tiny(2, 1, layers=(1, 1, 2, 2), dilation=dilation, features_only=True)
    inference = to_inference_form(network, form)
    images = pictures(64)
    with torch.no_grad():
        expected, actual = network(images), inference(images)
    assert isinstance(actual, list)
    assert [64 // feature.shape[-1] for feature in actual] == list(strides)
    assert max(distance(a, b) for a, b in zip(expected, actual, strict=True)) < TOLERANCE
    assert not hasattr(inference, "fc")


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_miswired_block_is_noticed(form: Form) -> None:
    """What the tolerance is worth: one block's gate swapped between its two splits."""
    network = tiny(2, 2)
    inference = to_inference_form(network, form)
    gate = attention(blocks(inference)[1]).attention.fc2
    assert isinstance(gate, nn.Conv2d)
    assert gate.bias is not None
    with torch.no_grad():
        gate.weight.neg_()
        gate.bias.neg_()
    assert logit_distance(network, inference, pictures(32)) > 1000 * TOLERANCE


def test_exchanged_split_convolutions_are_noticed() -> None:
    network = tiny(4, 1)
    inference = to_inference_form(network, Form.SPLIT)
    convs = attention(blocks(inference)[1]).conv
    assert isinstance(convs, nn.ModuleList)
    convs[0], convs[1] = convs[1], convs[0]
    assert logit_distance(network, inference, pictures(32)) > 1000 * TOLERANCE


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_original_is_left_as_it_was(form: Form, training: bool) -> None:
    network = tiny(2, 1).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    inference = to_inference_form(network, form)
    assert not inference.training
    assert all(module.training is training for module in network.modules())
    with torch.no_grad():
        for parameter in inference.parameters():
            parameter.zero_()
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not {id(module) for module in network.modules()} & {id(module) for module in inference.modules()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_dtype_is_kept(dtype: torch.dtype) -> None:
    inference = to_inference_form(tiny(2, 1).to(dtype))
    assert {parameter.dtype for parameter in inference.parameters()} == {dtype}


def test_float32_folds_in_float64() -> None:
    """Folded weights are float64's, rounded once: bit for bit those of the same network held in float64."""
    network = tiny(2, 1).float()
    folded = to_inference_form(network)
    exact = to_inference_form(network.double())
    for narrow, wide in zip(folded.parameters(), exact.parameters(), strict=True):
        assert torch.equal(narrow, wide.float())


def blocks(inference: InferenceResNeSt) -> list[InferenceBottleneck]:
    return [module for module in inference.modules() if isinstance(module, InferenceBottleneck)]


def attention(block: InferenceBottleneck) -> InferenceSplitAttention:
    assert isinstance(block.split_attention, InferenceSplitAttention)
    return block.split_attention


def split_attentions(network: ResNeSt) -> list[SplitAttention]:
    return [module for module in network.modules() if isinstance(module, SplitAttention)]


def convolutions(block: nn.Module) -> list[nn.Conv2d]:
    return [module for module in block.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize(
    ("radix", "form", "count"),
    [
        # conv1, 3×3, fc1, fc2, conv3
        (0, Form.SPLIT, 3),
        (1, Form.SPLIT, 5),
        (1, Form.DENSE, 5),
        (2, Form.SPLIT, 2 + 2 + 1 + 1 + 1),
        (2, Form.SPLIT_DENSE, 2 + 2 + 1 + 1 + 1),
        (2, Form.GROUPED, 5),
        (2, Form.DENSE, 5),
        (4, Form.SPLIT, 4 + 4 + 1 + 4 + 1),
        (4, Form.SPLIT_DENSE, 4 + 4 + 1 + 4 + 1),
        (4, Form.GROUPED, 1 + 1 + 1 + 4 + 1),
        (4, Form.DENSE, 1 + 1 + 1 + 4 + 1),
    ],
)
def test_convolutions_per_block(radix: int, form: Form, count: int) -> None:
    inference = to_inference_form(tiny(radix, 2), form)
    plain = [block for block in blocks(inference) if block.downsample is None]
    assert plain
    assert {len(convolutions(block)) for block in plain} == {count}
    assert all(conv.bias is not None for conv in convolutions(inference))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_no_batch_norm_is_left(form: Form) -> None:
    kinds = Counter(type(module) for module in to_inference_form(tiny(2, 1), form).modules())
    assert not any(issubclass(kind, nn.modules.batchnorm._BatchNorm) for kind in kinds)


@pytest.mark.parametrize(
    ("form", "groups"),
    [(Form.SPLIT, {2}), (Form.SPLIT_DENSE, {1}), (Form.GROUPED, {4}), (Form.DENSE, {1})],
    ids=lambda value: str(value),
)
def test_groups_of_the_split_attention_convolution(form: Form, groups: set[int]) -> None:
    """Radix 2, cardinality 2: two convolutions of two groups or of one, one of four, or one of one."""
    found = [attention(block).conv for block in blocks(to_inference_form(tiny(2, 2), form))]
    assert {conv.groups for body in found for conv in convolutions(body)} == groups


def test_the_gate_is_halved_at_radix_2_only() -> None:
    def outputs(radix: int) -> tuple[int, int]:
        network = tiny(radix, 1)
        before = split_attentions(network)[2].fc2.out_channels
        after = convolutions(attention(blocks(to_inference_form(network))[2]).attention.fc2)
        return before, sum(conv.out_channels for conv in after)

    assert outputs(1) == (16, 16)
    assert outputs(2) == (32, 16)
    assert outputs(4) == (64, 64)


def test_softmax_over_four_splits_does_not_overflow() -> None:
    """exp(800) is inf even in float64: the largest logit is subtracted first, as softmax does."""
    network = tiny(4, 1)
    for module in split_attentions(network):
        assert module.fc2.bias is not None
        with torch.no_grad():
            module.fc2.bias.copy_(torch.linspace(-800, 800, module.fc2.out_channels))
    assert logit_distance(network, to_inference_form(network), pictures(32)) < TOLERANCE


def test_a_pool_of_one_pixel_is_dropped() -> None:
    inference = to_inference_form(tiny(2, 1))
    names = [list(block.downsample._modules) for block in blocks(inference) if block.downsample is not None]
    assert names == [["conv"], ["pool", "conv"], ["pool", "conv"], ["pool", "conv"]]


def stage_shapes(inference: InferenceResNeSt) -> list[tuple[int, set[int]]]:
    """Of each stage's first block: how many convolutions its split attention has, and their groups."""
    firsts = [cast(nn.Sequential, getattr(inference, f"layer{number}"))[0] for number in (1, 2, 3, 4)]
    found = [convolutions(attention(cast(InferenceBottleneck, block)).conv) for block in firsts]
    return [(len(convs), {conv.groups for conv in convs}) for convs in found]


def test_each_stage_takes_its_own_form() -> None:
    """Radix 2, cardinality 2."""
    form = Form.parse("dense/split/grouped/split-dense")
    assert stage_shapes(to_inference_form(tiny(2, 2), form)) == [(1, {1}), (2, {2}), (1, {4}), (2, {1})]


def pools(inference: InferenceResNeSt) -> list[tuple[bool, bool]]:
    """Of each block: whether it pools before the gate weights the splits, and whether behind."""
    found = blocks(inference)
    return [(attention(block).pool is not None, block.pool_last is not None) for block in found]


def test_blocks_that_halve_the_map_pool_early_where_asked() -> None:
    """A dilated stage 4 pools without striding: R pools in place of one would spare nothing, so its pool stays."""
    plain, late, early = (False, False), (False, True), (True, False)
    pooled = Form((StageForm.SPLIT,) * 4, early_pool=True)
    assert pools(to_inference_form(tiny(2, 1))) == [plain, late, plain, late, late]
    assert pools(to_inference_form(tiny(2, 1), pooled)) == [plain, early, plain, early, early]
    assert pools(to_inference_form(tiny(2, 1, dilation=2), pooled)) == [plain, early, plain, early, late]
    assert pools(to_inference_form(tiny(2, 1, avd_first=True), pooled)) == [plain] * 5


def test_the_gate_of_an_early_pool_is_that_of_the_unpooled_splits() -> None:
    """What the tolerance is worth here: means taken behind the padded pool are others."""
    network = tiny(2, 1)
    inference = to_inference_form(network, Form((StageForm.SPLIT,) * 4, early_pool=True))
    assert logit_distance(network, inference, pictures(32)) < TOLERANCE
    for block in blocks(inference):
        body = attention(block)
        if body.pool is not None:
            pool, body.pool = body.pool, None
            body.attention.register_forward_pre_hook(lambda _, given, pool=pool: ([pool(split) for split in given[0]],))
    assert logit_distance(network, inference, pictures(32)) > 1000 * TOLERANCE
