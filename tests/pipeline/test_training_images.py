"""Calibration images beside what batch norm remembers: right ones tell nothing, wrong ones what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resnest_edge.demo.scenes import DemoImages
from resnest_edge.images import ImageSet, sample
from resnest_edge.images.base import Pixels
from resnest_edge.models.normalisation import remember
from resnest_edge.pipeline.calibrated import open_network
from resnest_edge.pipeline.pictures import open_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.progress import silent
from resnest_edge.pipeline.sources import PreprocessingChoice, find_source
from resnest_edge.pipeline.training_images import compare_with_training
from resnest_edge.pipeline.typed import Network
from resnest_edge.spec import Interpolation

Change = Callable[[Pixels], Pixels]


class Changed(DemoImages):
    """Demo scenes with something done to their pixels."""

    def __init__(self, count: int, change: Change, split: str = "train") -> None:
        super().__init__(split, count)
        self._change = change

    def load(self, index: int) -> Pixels:
        return np.ascontiguousarray(self._change(super().load(index)))


def noise(pixels: Pixels) -> Pixels:
    return np.random.default_rng(int(pixels.sum())).integers(0, 256, pixels.shape, np.uint8)


def grey(pixels: Pixels) -> Pixels:
    return np.repeat(pixels.mean(2, keepdims=True).astype(np.uint8), 3, 2)


@pytest.fixture(scope="module")
def demo() -> Network:
    return open_network(BuildRequest(), find_source(None), silent)


def told(network: Network, images: ImageSet) -> str:
    return " | ".join(compare_with_training(network, images, skip_bad=False))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("count", [10, 32])
def test_scenes_like_those_of_the_training_tell_nothing(demo: Network, count: int, seed: int) -> None:
    assert told(demo, sample(DemoImages("test", 400), count, seed)) == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (np.zeros_like, "trained on other images"),
        (np.zeros_like, "channels are dead"),
        (np.zeros_like, "are grey"),
        (lambda pixels: pixels // 4, "trained on other images"),
        (lambda pixels: 255 - pixels // 4, "trained on other images"),
        (noise, "trained on other images"),
        (grey, "are grey"),
    ],
    ids=["black", "black is dead", "black is grey", "dark", "bright", "noise", "grey"],
)
def test_wrong_scenes_are_told(demo: Network, change: Change, expected: str) -> None:
    assert expected in told(demo, Changed(16, change))


def test_a_wrong_normalisation_is_told_with_what_it_makes_of_the_pixels(demo: Network) -> None:
    wrong = replace(demo.preprocessing, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    text = told(replace(demo, preprocessing=wrong), DemoImages("train", 16))
    assert "trained on other images" in text and "--mean" in text
    assert "deviation 0.2" in text, "pixels of [0, 1]"


def test_a_foreign_model_has_nothing_to_compare_with(demo: Network) -> None:
    assert told(replace(demo, remembered=None), Changed(8, np.zeros_like)) == ""


def test_random_weights_were_trained_on_nothing() -> None:
    source = find_source("resnest14d", weights="none", choice=PreprocessingChoice(image_size=64))
    assert source.load is not None
    assert remember(source.load()).layers, "random statistics, which would be taken for those of a training"
    network = open_network(BuildRequest(), source, silent)
    assert told(network, Changed(8, np.zeros_like)) == ""


def photographed(data_dir: Path) -> tuple[Network, ImageSet]:
    """The ResNeSt-50 that was trained on photographs, and photographs of its training."""
    choice = PreprocessingChoice(image_size=160, resize="squash", interpolation=Interpolation.BICUBIC)
    source = find_source(
        "resnest50", weights=str(data_dir / "weights/resnest50d-imagenette.safetensors"), choice=choice
    )
    network = open_network(BuildRequest(), source, silent)
    return network, open_pictures(str(data_dir / "imagenette/train"), source.num_classes)


@pytest.mark.slow
def test_photographs_of_the_training_tell_nothing(data_dir: Path) -> None:
    network, photographs = photographed(data_dir)
    assert told(network, sample(photographs, 32, 0)) == ""
    assert told(network, sample(photographs, 10, 1)) == ""


@pytest.mark.slow
def test_the_swapped_channels_of_photographs_are_told(data_dir: Path) -> None:
    network, photographs = photographed(data_dir)
    swapped = replace(network, preprocessing=replace(network.preprocessing, color="bgr"))
    drawn = sample(photographs, 512, 0)
    assert "red and blue seem to be swapped" in told(swapped, drawn)
    assert told(network, drawn) == ""
    assert told(swapped, sample(photographs, 16, 0)) == "", "too few"
