"""What `build VARIANT --weights …` opens, and what it refuses before any work is done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from resnest_edge.errors import CheckpointError, UnavailableError, UsageError
from resnest_edge.files import sha256_file
from resnest_edge.models import pretrained
from resnest_edge.models.checkpoint import save_checkpoint
from resnest_edge.models.resnest import ResNeSt, ResNeStConfig
from resnest_edge.models.variants import VARIANTS, Variant
from resnest_edge.pipeline.networks import open_network
from resnest_edge.pipeline.progress import silent
from resnest_edge.pipeline.sources import find_source

SMALL = VARIANTS["resnest14d"]
OWN = ResNeStConfig((1, 1, 1, 1), stem_width=4, planes=(8, 16, 16, 24))
Progress = Callable[[int, "int | None"], None]


def saved(config: ResNeStConfig, num_classes: int, path: Path, seed: int = 0) -> ResNeSt:
    torch.manual_seed(seed)
    network = ResNeSt(config, num_classes).eval()
    save_checkpoint(network, path, {})
    return network


def logits(network: ResNeSt) -> Tensor:
    with torch.no_grad():
        out = network(torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32))
    assert isinstance(out, Tensor)
    return out


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    saved(SMALL.config, 7, path)
    return path


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    path = tmp_path / "own.safetensors"
    saved(OWN, 4, path)
    return path


@pytest.mark.parametrize("what", [None, "resnest14d"])
@pytest.mark.parametrize("num_classes", [None, 7])
def test_a_file_is_opened_as_what_it_fits(what: str | None, num_classes: int | None, small_file: Path) -> None:
    network = open_network(what, str(small_file), num_classes, silent)
    assert (network.name, network.num_classes) == ("resnest14d", 7)
    assert network.preprocessing == SMALL.preprocessing
    assert network.parents == {"checkpoint": sha256_file(small_file)}


def test_the_file_is_what_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    original = saved(OWN, 4, path)
    loaded = open_network(None, str(path), None, silent).load()
    assert not loaded.training
    # Not equal to the bit: where a file's tensor lies in memory decides which kernel multiplies it.
    torch.testing.assert_close(logits(loaded), logits(original))


def test_a_shape_of_its_own_gets_a_name_that_says_so(own_file: Path) -> None:
    network = open_network(None, str(own_file), None, silent)
    assert (network.name, network.num_classes) == ("resnest-custom", 4)
    assert network.preprocessing == VARIANTS["resnest50"].preprocessing


def test_the_named_variant_decides_where_it_pools(tmp_path: Path) -> None:
    """Weights do not show ``avd_first``: a file without a name is a resnest50, and by its name the fast variant."""
    fast = VARIANTS["resnest50_fast_2s1x64d"]
    path, bare = tmp_path / "fast.safetensors", tmp_path / "bare.pth"
    torch.save(saved(fast.config, 3, path).state_dict(), bare)
    assert open_network(None, str(bare), None, silent).load().config == VARIANTS["resnest50"].config
    assert open_network("2s1x64d", str(bare), None, silent).load().config.avd_first
    assert open_network(None, str(path), None, silent).name == fast.name  # a file of our own records its shape
    with pytest.raises(CheckpointError, match=f"They fit {fast.name}"):
        open_network("resnest50", str(path), None, silent)


def test_a_file_that_does_not_fit_is_refused_at_once(small_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"They fit resnest14d"):
        open_network("resnest26d", str(small_file), None, silent)


def test_a_file_that_changes_meanwhile_is_not_taken_for_the_first(own_file: Path) -> None:
    network = open_network(None, str(own_file), None, silent)
    saved(OWN, 4, own_file, seed=1)
    with pytest.raises(CheckpointError, match="changed"):
        network.load()


def test_no_such_file() -> None:
    with pytest.raises(CheckpointError, match="no such weights file"):
        open_network("resnest50", "nowhere.pth", None, silent)


def test_wrong_classes_name_both_numbers(small_file: Path) -> None:
    with pytest.raises(UsageError, match=r"--num-classes 8, .* 7 classes"):
        open_network(None, str(small_file), 8, silent)


def test_weights_have_to_be_named() -> None:
    with pytest.raises(UsageError, match="resnest50 needs weights") as caught:
        open_network("resnest50", None, None, silent)
    assert all(word in str(caught.value.hint) for word in ("--weights PATH", "pretrained", "none"))


@pytest.mark.parametrize("weights", ["pretrained", "none"])
def test_a_variant_has_to_be_named(weights: str) -> None:
    with pytest.raises(UsageError, match=f"--weights {weights} does not say which"):
        open_network(None, weights, None, silent)


@pytest.mark.parametrize("weights", ["none", "pretrained", "nowhere.pth"])
def test_an_unknown_variant(weights: str) -> None:
    with pytest.raises(UsageError, match="resnest5O") as caught:
        open_network("resnest5O", weights, None, silent)
    assert "resnest50" in str(caught.value.hint)


def test_random_weights_are_the_same_every_time() -> None:
    network = open_network("resnest14d", "none", 12, silent)
    assert (network.name, network.num_classes, network.parents) == ("resnest14d", 12, {})
    first, second = network.load(), network.load()
    assert first.num_classes == 12 and not first.training
    assert torch.equal(logits(first), logits(second))
    assert 0.05 < float(logits(first).std()) < 20
    assert open_network("resnest50", "none", None, silent).num_classes == 1000


def test_random_weights_need_a_class() -> None:
    with pytest.raises(UsageError, match="0 classes"):
        open_network("resnest14d", "none", 0, silent)


def test_pretrained_weights_are_fetched_and_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "published.safetensors"
    saved(SMALL.config, 1000, path)

    def fetch(variant: Variant, *, on_progress: Progress) -> Path:
        assert variant is SMALL
        on_progress(5, 10)
        on_progress(10, 10)
        return path

    told: list[tuple[str, int, int | None]] = []
    monkeypatch.setattr(pretrained, "fetch", fetch)
    network = open_network("resnest14d", "pretrained", None, lambda *event: told.append(event))
    assert told == [("download", 5, 10), ("download", 10, 10)]
    assert (network.num_classes, network.parents) == (1000, {"checkpoint": sha256_file(path)})


def test_pretrained_weights_of_other_classes_are_not_even_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(variant: Variant, *, on_progress: Progress) -> Path:
        raise AssertionError("fetched")

    monkeypatch.setattr(pretrained, "fetch", fetch)
    with pytest.raises(UsageError, match=r"--num-classes 10, .* 1000 classes"):
        open_network("resnest14d", "pretrained", 10, silent)


def test_no_network_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(variant: Variant, *, on_progress: Progress) -> Path:
        raise UnavailableError("no connection")

    monkeypatch.setattr(pretrained, "fetch", fetch)
    with pytest.raises(UnavailableError):
        open_network("resnest14d", "pretrained", None, silent)


def test_a_source_carries_what_was_opened(own_file: Path) -> None:
    source = find_source(None, weights=str(own_file))
    assert (source.name, source.num_classes, source.is_resnest) == ("resnest-custom", 4, True)
    assert source.parents == {"checkpoint": sha256_file(own_file)}


def test_importing_loads_no_torch() -> None:
    code = "import sys, resnest_edge.pipeline.networks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_trained_checkpoint(data_dir: Path) -> None:
    path = data_dir / "weights" / "resnest50d-imagenette.safetensors"
    if not path.is_file():
        pytest.skip(f"no trained ResNeSt here: {path}")
    network = open_network(None, str(path), None, silent)
    assert (network.name, network.num_classes) == ("resnest50", 10)
    assert network.load().num_classes == 10
