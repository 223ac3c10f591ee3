"""The network against the authors' own: package ``resnest`` 0.0.5, the same weights in both, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from resnest.torch import ablation, resnest
from resnest.torch.resnet import Bottleneck as AuthorsBottleneck
from resnest.torch.resnet import ResNet as AuthorsResNet
from torch import Tensor, nn

from resnest_edge.errors import UsageError
from resnest_edge.models.config import ResNeStConfig
from resnest_edge.models.resnest import Bottleneck, ResNeSt, SplitAttention
from resnest_edge.models.variants import VARIANTS
from tests.support.networks import randomise

# Both compute in float64, here to the same bits; another PyTorch may order its sums otherwise (1e-13 or so).
# A wrong term is 1e-3 or more: the negative tests below.
TOLERANCE = 1e-6
CLASSES = 10
SIDE = 40  # 20, 10, 5, 3, 2: odd sides, where the shortcut's ceil-mode pool and the padded pools could disagree
AUTHORS = {name: getattr(module, name) for module in (resnest, ablation) for name in module.__all__}
LARGE = ("resnest200", "resnest269")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pictures(side: int = SIDE, batch: int = 4) -> Tensor:
    """Coarse patches under noise: plain noise has the same averages everywhere, and the attention would not stir."""
    generator = torch.Generator().manual_seed(1)
    patches = torch.randn(batch, 3, 4, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(batch, 3, side, side, generator=generator, dtype=torch.float64)
    return 2 * nn.functional.interpolate(patches, size=(side, side), mode="bilinear") + noise / 2


def settle(network: nn.Module, images: Tensor) -> nn.Module:
    """Scales of its own for each batch norm, and the statistics of ``images``: signals stay of order one at any depth.

    With statistics drawn at random too, a branch fades or a gate saturates over a hundred layers, and hides mistakes.
    """
    randomise(network.double())
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    for norm in norms:
        assert norm.running_var is not None
        norm.running_var.add_(norm.running_var.mean() / 4)  # a channel of no variance would blow up every rounding
    return network.eval()


def authors_network(config: ResNeStConfig, **kwargs: Any) -> nn.Module:
    network: nn.Module = AuthorsResNet(
        AuthorsBottleneck,
        list(config.layers),
        radix=config.radix,
        groups=config.cardinality,
        bottleneck_width=config.bottleneck_width,
        num_classes=CLASSES,
        deep_stem=True,
        stem_width=config.stem_width,
        avg_down=True,
        avd=True,
        avd_first=config.avd_first,
        **kwargs,
    )
    return network


def with_the_same_weights(config: ResNeStConfig, authors: nn.Module, **kwargs: Any) -> ResNeSt:
    """Ours with the authors' weights; strict in both directions."""
    with torch.device("meta"):  # without random weights that would be replaced at once
        ours = ResNeSt(config, CLASSES, **kwargs)
    ours.load_state_dict({name: value.clone() for name, value in authors.state_dict().items()}, assign=True)
    authors.load_state_dict(ours.state_dict(), strict=True)
    return ours.eval()


@torch.no_grad()
def distance(authors: nn.Module, ours: nn.Module, images: Tensor) -> float:
    """Largest difference of the logits, over their standard deviation."""
    expected, given = authors(images), ours(images)
    assert expected.shape == given.shape == (len(images), CLASSES)
    assert 1e-1 < float(expected.std()) < 1e1  # what vanishes or explodes compares nothing
    assert float(expected.std(0).min()) > 1e-3  # and the pictures have to be told apart
    return float((expected - given).abs().max() / expected.std())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in AUTHORS]
)
def test_variants_equal_the_authors(name: str) -> None:
    torch.manual_seed(0)
    images = pictures()
    authors = settle(AUTHORS[name](num_classes=CLASSES), images)
    ours = with_the_same_weights(VARIANTS[name].config, authors)
    assert distance(authors, ours, images) < TOLERANCE


def test_every_variant_of_the_authors_is_here() -> None:
    assert set(VARIANTS) - set(AUTHORS) == {"resnest14d", "resnest26d"}
    assert set(AUTHORS) <= set(VARIANTS)


@pytest.mark.parametrize(
    ("layers", "stem_width"), [((1, 1, 1, 1), 32), ((2, 2, 2, 2), 32), ((1, 3, 3, 2), 64)], ids=["14", "26", "deep"]
)
def test_other_depths_equal_the_authors(layers: tuple[int, int, int, int], stem_width: int) -> None:
    """Those only timm has, and a small stand-in for ResNeSt-200 and -269, which are slow."""
    torch.manual_seed(0)
    images, config = pictures(), ResNeStConfig(layers, stem_width=stem_width)
    authors = settle(authors_network(config), images)
    assert distance(authors, with_the_same_weights(config, authors), images) < TOLERANCE


@settings(max_examples=12)
@given(
    radix=st.sampled_from([1, 2, 4]),
    cardinality=st.sampled_from([1, 2, 4]),
    width=st.sampled_from([16, 24, 40]),
    avd_first=st.booleans(),
    side=st.integers(33, 48),
    seed=st.integers(0, 2**16),
)
def test_any_radix_and_cardinality_equal_the_authors(
    radix: int, cardinality: int, width: int, avd_first: bool, side: int, seed: int
) -> None:
    torch.manual_seed(seed)
    config = ResNeStConfig((1, 2, 1, 1), radix, cardinality, bottleneck_width=width, stem_width=8, avd_first=avd_first)
    images = pictures(side)
    authors = settle(authors_network(config), images)
    assert distance(authors, with_the_same_weights(config, authors), images) < TOLERANCE


@pytest.mark.parametrize("avd_first", [False, True])
@pytest.mark.parametrize("cardinality", [1, 4])
def test_radix_0_equals_the_authors(cardinality: int, avd_first: bool) -> None:
    torch.manual_seed(0)
    config = ResNeStConfig((1, 2, 1, 1), 0, cardinality, bottleneck_width=24, avd_first=avd_first)
    images = pictures()
    authors = settle(authors_network(config), images)
    assert distance(authors, with_the_same_weights(config, authors), images) < TOLERANCE


@pytest.mark.parametrize("avd_first", [False, True])
@pytest.mark.parametrize("dilation", [2, 4])
def test_dilated_networks_equal_the_authors(dilation: int, avd_first: bool) -> None:
    torch.manual_seed(0)
    config = ResNeStConfig((1, 2, 2, 2), bottleneck_width=32, avd_first=avd_first)
    images = pictures()
    authors = settle(authors_network(config, dilation=dilation), images)
    assert distance(authors, with_the_same_weights(config, authors, dilation=dilation), images) < TOLERANCE
    assert distance(authors, with_the_same_weights(config, authors), images) > 1e3 * TOLERANCE


@pytest.mark.parametrize(("dilation", "strides"), [(1, (4, 8, 16, 32)), (2, (4, 8, 16, 16)), (4, (4, 8, 8, 8))])
@torch.no_grad()
def test_features_are_the_authors_stages(dilation: int, strides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    config, images = ResNeStConfig((1, 1, 1, 1), bottleneck_width=32), pictures(64)
    authors = settle(authors_network(config, dilation=dilation), images)
    stages: list[Tensor] = []
    for number in (1, 2, 3, 4):
        authors.get_submodule(f"layer{number}").register_forward_hook(lambda *now: stages.append(now[2]))
    authors(images)
    backbone = ResNeSt(config, CLASSES, dilation=dilation, features_only=True).double().eval()
    missing, unexpected = backbone.load_state_dict(authors.state_dict(), strict=False)
    assert (missing, unexpected) == ([], ["fc.weight", "fc.bias"])
    features = backbone(images)
    assert [tuple(feature.shape) for feature in features] == [
        (4, planes * 4, 64 // stride, 64 // stride) for planes, stride in zip(config.planes, strides, strict=True)
    ]
    for feature, stage in zip(features, stages, strict=True):
        assert float((feature - stage).abs().max() / stage.std()) < TOLERANCE


@pytest.mark.parametrize("name", ["layer1.0.conv2.fc2.weight", "layer3.1.conv2.fc2.bias"])
def test_a_swapped_gate_is_seen(name: str) -> None:
    """The negative control: one gate's radix halves the wrong way round."""
    torch.manual_seed(0)
    config, images = ResNeStConfig((1, 1, 2, 1)), pictures()
    authors = settle(authors_network(config), images)
    ours = with_the_same_weights(config, authors)
    swapped = ours.get_parameter(name)
    with torch.no_grad():
        swapped.copy_(swapped.roll(len(swapped) // 2, 0))
    assert distance(authors, ours, images) > 1e3 * TOLERANCE


def test_the_place_of_the_pool_is_seen() -> None:
    """The paper's and the "fast" networks have the same tensors; only the answers differ."""
    torch.manual_seed(0)
    config, images = ResNeStConfig((1, 1, 1, 1)), pictures()
    authors = settle(authors_network(config), images)
    assert distance(authors, with_the_same_weights(replace(config, avd_first=True), authors), images) > 1e3 * TOLERANCE


@pytest.mark.parametrize("avd_first", [False, True])
@pytest.mark.parametrize("side", [7, 8])
def test_the_stride_is_applied_once(side: int, avd_first: bool) -> None:
    """It stands in the average pool; a well-known blog post's code strides in the convolution as well."""
    config = ResNeStConfig((1, 1, 1, 1), avd_first=avd_first)
    authors = authors_network(config).double()
    block = with_the_same_weights(config, authors).get_submodule("layer2.0")
    assert isinstance(block, Bottleneck) and isinstance(block.conv2, SplitAttention)
    assert block.conv2.conv.stride == (1, 1)
    assert isinstance(block.avd_layer, nn.AvgPool2d) and block.avd_layer.stride == 2
    images = torch.randn(2, 256, side, side, dtype=torch.float64)
    expected = authors.eval().get_submodule("layer2.0")(images)
    assert expected.shape == block(images).shape == (2, 512, 4, 4)


def test_a_picture_of_any_size_and_batch_gives_logits() -> None:
    network = ResNeSt(ResNeStConfig((1, 1, 1, 1), stem_width=8, planes=(8, 8, 8, 8)), 3).eval()
    for shape in ((1, 3, 33, 65), (2, 3, 1, 1)):
        assert network(torch.zeros(shape)).shape == (shape[0], 3)


@pytest.mark.parametrize("kwargs", [{"dilation": 3}, {"dilation": 0}, {"num_classes": 0}])
def test_networks_that_cannot_be(kwargs: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ResNeSt(ResNeStConfig((1, 1, 1, 1)), **kwargs)


@pytest.mark.parametrize(
    "shape",
    [
        {"layers": (3, 4, 6)},
        {"layers": (3, 4, 0, 3)},
        {"radix": -1},
        {"cardinality": 0},
        {"stem_width": 0},
        {"bottleneck_width": 0},
        {"planes": (1, 1, 1, 1), "bottleneck_width": 32},
        {"radix": 1, "cardinality": 3, "bottleneck_width": 40},
        {"radix": 8, "bottleneck_width": 4},
    ],
)
def test_shapes_that_cannot_be(shape: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ResNeStConfig(**{"layers": (1, 1, 1, 1), **shape})


def test_split_attention_refuses_groups_that_do_not_divide() -> None:
    with pytest.raises(UsageError, match="do not split"):
        SplitAttention(30, 2, 4)
