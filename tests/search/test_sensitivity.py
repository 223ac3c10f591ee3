"""Sensitivity of layers: what is measured, the order, and a run that was interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from resnest_edge.errors import InputError
from resnest_edge.search.sensitivity import Journal, LayerEffect, by_harm_per_cost, layer_effects

IDENTITY = {"graph": "a", "images": "b"}


class Fake:
    """Two classes, four images; each layer adds its own error to the first logit."""

    def __init__(self, errors: dict[str, float], labels: tuple[int, ...] = (0, 0, 1, 1)) -> None:
        self.errors = errors
        self.macs = dict.fromkeys(errors, 10)
        self.labels: npt.NDArray[np.int64] = np.array(labels)
        self.reference: npt.NDArray[np.float32] = np.array([[2, 0], [2, 0], [0, 2], [0, 2]], np.float32)
        self.asked: list[str] = []

    def only(self, layer: str) -> npt.NDArray[np.float32]:
        self.asked.append(layer)
        return self.reference + np.array([self.errors[layer], 0], np.float32)


def test_effects_are_those_computed_by_hand_and_the_worst_comes_first() -> None:
    small, large = sorted(layer_effects(Fake({"small": 0.5, "large": 3.0})), key=lambda effect: effect.harm)
    assert [small.layer, large.layer] == ["small", "large"]
    assert small.harm == pytest.approx(0.25 / 4) and large.harm == pytest.approx(9 / 4)
    assert small.changed == 0 and small.top1_change == 0
    assert large.changed == 50 and large.top1_change == -50  # the last two images change sides
    assert 0 < small.kl < large.kl
    assert [effect.layer for effect in layer_effects(Fake({"small": 0.5, "large": 3.0}))] == ["large", "small"]


def test_without_labels_top1_is_unknown() -> None:
    (effect,) = layer_effects(Fake({"a": 1.0}, labels=(0, 0, 1, -1)))
    assert effect.top1_change is None


def test_layers_are_given_back_by_harm_for_each_product() -> None:
    effects = [LayerEffect("big", 1000, 1.0, 0, 0, None), LayerEffect("cheap", 10, 0.5, 0, 0, None)]
    assert [effect.layer for effect in by_harm_per_cost(effects)] == ["cheap", "big"]


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "layers.json"
    first = Journal(path, IDENTITY)
    layer_effects(Fake({"a": 1.0}), found=first.add)
    again = Journal(path, IDENTITY)
    assert again.resume() == 1
    probe = Fake({"a": 1.0, "b": 2.0})
    effects = layer_effects(probe, known=again.effects, found=again.add)
    assert probe.asked == ["b"]
    assert effects == layer_effects(Fake({"a": 1.0, "b": 2.0}))
    assert [entry["layer"] for entry in json.loads(path.read_text())["layers"]] == ["a", "b"]


def test_a_file_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "layers.json"
    layer_effects(Fake({"a": 1.0}), found=Journal(path, IDENTITY).add)
    with pytest.raises(InputError, match=r"another network, image set or target.*--force"):
        Journal(path, {**IDENTITY, "graph": "c"}).resume()


WRONG_TYPE = json.dumps(
    {"schema": 1, "identity": IDENTITY, "layers": [{**vars(LayerEffect("a", 1, 0.1, 0.1, 0.0, None)), "harm": "much"}]}
)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 1, "identity": {}, "layers": [{}]}', "\x00", "NaN", WRONG_TYPE]
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "layers.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a sensitivity file"):
        Journal(path, IDENTITY).resume()
