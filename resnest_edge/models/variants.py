"""The published ResNeSts as data: shape, preprocessing, and the accuracy that was claimed for them."""

from __future__ import annotations

import difflib
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from resnest_edge.errors import UsageError
from resnest_edge.models.config import STAGE_PLANES, Cost, ResNeStConfig, cost_of
from resnest_edge.spec import Interpolation, Preprocessing, ResizeMode

_README = "github.com/zhanghang1989/ResNeSt, README.md, PyTorch column"
_ABLATION = "github.com/zhanghang1989/ResNeSt, ablation.md at 939e303, PyTorch column"
_TIMM = "github.com/huggingface/pytorch-image-models, results/results-imagenet.csv at 0173a13"
_CARD = "timm's model card on huggingface.co/timm"
_AUTHORS_FILES = "https://github.com/zhanghang1989/ResNeSt/releases/download/weights_step1"
_TIMM_FILES = "https://github.com/huggingface/pytorch-image-models/releases/download"
_FAST_LAYERS = (3, 4, 6, 3)
_FAST_NAME = re.compile(r"(?:resnest50_fast_)?([0-9]{1,2})s([1-9][0-9]?)x([1-9][0-9]{0,2})d")


@dataclass(frozen=True)
class Download:
    """Where pretrained weights can be fetched.

    Attributes:
        source: ``authors`` (their GitHub release), ``timm`` (timm's GitHub release: the authors' files again, and the
            GluonCV models that timm converted) or ``hub`` (timm's safetensors on the Hugging Face hub).
        url: the file.
        sha256: the file's SHA-256 in hex, or its first digits; None where none is published: such a file is verified
            by the digest that the server states, and by its own digest from its first download on.
    """

    source: str
    url: str
    sha256: str | None

    @property
    def file_name(self) -> str:
        """Name of the file in the cache; the hub calls every file ``model.safetensors``."""
        *_, model, _, _, name = self.url.split("/")
        return f"{model}.safetensors" if self.source == "hub" else name


@dataclass(frozen=True)
class Variant:
    """A ResNeSt with a name.

    Attributes:
        name: the authors' name (timm's, where only timm has it).
        config: shape of the network.
        preprocessing: how its pictures are prepared where its accuracy was measured.
        aliases: other names it is known by.
        top1: published ImageNet-1k top-1, percent; None where nothing was published.
        top1_source: where that figure stands.
        published_gmacs: published billions of multiply-accumulates (often called GFLOPs) at the native crop.
        published_gmacs_source: where that figure stands.
        downloads: pretrained ImageNet-1k weights; the first is the default, and its digest is known.
    """

    name: str
    config: ResNeStConfig
    preprocessing: Preprocessing
    aliases: tuple[str, ...] = ()
    top1: float | None = None
    top1_source: str | None = None
    published_gmacs: float | None = None
    published_gmacs_source: str | None = None
    downloads: tuple[Download, ...] = ()

    @property
    def image_size(self) -> int:
        """Side of the native crop, pixels."""
        return self.preprocessing.image_size

    @property
    def parameters(self) -> int:
        """Trainable parameters with the 1000 classes of ImageNet."""
        return self._cost().parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and fully connected layers for one picture at the native crop."""
        return self._cost().macs

    def _cost(self) -> Cost:
        return cost_of(self.config, self.image_size)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `resnest-edge models --json`."""
        return {
            "name": self.name,
            "aliases": list(self.aliases),
            "config": asdict(self.config),
            "parameters": self.parameters,
            "macs": self.macs,
            "image_size": self.image_size,
            "preprocessing": self.preprocessing.to_json(),
            "top1": self.top1,
            "top1_source": self.top1_source,
            "published_gmacs": self.published_gmacs,
            "published_gmacs_source": self.published_gmacs_source,
            "downloads": [asdict(download) for download in self.downloads],
        }


def authors_preprocessing(image_size: int) -> Preprocessing:
    """The ResNeSt authors' evaluation: a central square of size/(size + 32) of the shorter side, resized bicubically.

    Source: ``ECenterCrop`` in scripts/torch/verify.py of github.com/zhanghang1989/ResNeSt, which the authors name as
    what gives the published figures (issues 121 and 135 there), at every crop size. (Their Gluon script crops so
    above 320 pixels only.)
    """
    return Preprocessing(image_size, image_size + 32, ResizeMode.CENTER_THEN_RESIZE, Interpolation.BICUBIC)


def _authors(name: str, digest: str) -> Download:
    """A file of the authors' release; their torch.hub calls check these digits (resnest/torch of package 0.0.5)."""
    return Download("authors", f"{_AUTHORS_FILES}/{name}-{digest}.pth", digest)


def _timm(release: str, name: str, digest: str) -> Download:
    """A file of timm's releases; its converter puts the SHA-256's first digits into the name."""
    return Download("timm", f"{_TIMM_FILES}/{release}/{name}-{digest}.pth", digest)


def _hub(model: str, digest: str | None = None) -> Download:
    return Download("hub", f"https://huggingface.co/timm/{model}/resolve/main/model.safetensors", digest)


def _paper(
    name: str,
    alias: str,
    layers: tuple[int, int, int, int],
    stem_width: int,
    image_size: int,
    top1: float,
    gmacs: float | None,
    digest: str,
) -> Variant:
    return Variant(
        name,
        ResNeStConfig(layers, stem_width=stem_width),
        authors_preprocessing(image_size),
        (alias,),
        top1,
        _README,
        gmacs,
        None if gmacs is None else _CARD,
        (_authors(name, digest), _timm("v0.1-resnest", name, digest), _hub(f"{alias}.in1k")),
    )


def _fast(
    radix: int, cardinality: int, width: int, top1: float, gmacs: float, digest: str, alias: str | None = None
) -> Variant:
    custom_variant = custom(radix, cardinality, width, avd_first=True)
    name = f"resnest50_fast_{custom_variant.name}"
    downloads = [_authors(name, digest)]
    if alias is not None:
        downloads += [_timm("v0.1-resnest", name, digest), _hub(f"{alias}.in1k")]
    return replace(
        custom_variant,
        name=name,
        aliases=(custom_variant.name,) if alias is None else (alias, custom_variant.name),
        top1=top1,
        top1_source=_ABLATION,
        published_gmacs=gmacs,
        published_gmacs_source=_ABLATION,
        downloads=tuple(downloads),
    )


def _small(name: str, layers: tuple[int, int, int, int], top1: float, *downloads: Download) -> Variant:
    """One of the two that only timm has: 224 pixels, crop 0.875, bilinear (timm/models/resnest.py)."""
    return Variant(name, ResNeStConfig(layers), Preprocessing(224, 256), (), top1, _TIMM, downloads=downloads)


def custom(
    radix: int,
    cardinality: int,
    bottleneck_width: int,
    layers: tuple[int, int, int, int] = _FAST_LAYERS,
    *,
    stem_width: int = 32,
    avd_first: bool = False,
    planes: tuple[int, int, int, int] = STAGE_PLANES,
    image_size: int = 224,
) -> Variant:
    """A ResNeSt of any shape, with the authors' preprocessing, and of course no published accuracy.

    Raises:
        UsageError: no such network can be built.
    """
    config = ResNeStConfig(layers, radix, cardinality, bottleneck_width, stem_width, avd_first, planes)
    return Variant(f"{radix}s{cardinality}x{bottleneck_width}d", config, authors_preprocessing(image_size))


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        _small(
            "resnest14d",
            (1, 1, 1, 1),
            75.51,
            _timm("v0.1-weights", "gluon_resnest14", "9c8fe254"),
            # from the file's page on the hub
            _hub("resnest14d.gluon_in1k", "e56bef38731fc91873e790d5117c3df60ba281c6fbec6b78d5e14011c0218b8a"),
        ),
        _small(
            "resnest26d",
            (2, 2, 2, 2),
            78.484,
            _timm("v0.1-weights", "gluon_resnest26", "50eb607c"),
            _hub("resnest26d.gluon_in1k"),
        ),
        _paper("resnest50", "resnest50d", (3, 4, 6, 3), 32, 224, 81.03, 5.4, "528c19ca"),
        _paper("resnest101", "resnest101e", (3, 4, 23, 3), 64, 256, 82.83, None, "22405ba7"),
        _paper("resnest200", "resnest200e", (3, 24, 36, 3), 64, 320, 83.84, 35.7, "75117900"),
        _paper("resnest269", "resnest269e", (3, 30, 48, 8), 64, 416, 84.54, 77.7, "0cc87c48"),
        _fast(1, 1, 64, 80.33, 4.34, "d8fbf808"),
        _fast(2, 1, 64, 80.53, 4.34, "44938639"),
        _fast(4, 1, 64, 80.76, 4.35, "f74f3fc3"),
        _fast(1, 2, 40, 80.59, 4.38, "32830b84"),
        _fast(2, 2, 40, 80.61, 4.38, "9d126481"),
        _fast(4, 2, 40, 81.14, 4.41, "41d14ed0", "resnest50d_4s2x40d"),
        _fast(1, 4, 24, 80.99, 4.42, "d4a4f76f", "resnest50d_1s4x24d"),
    )
}
"""Every published ResNeSt by its name, smallest first; the "fast" ablation models last."""

_NAMES = {known: variant for variant in VARIANTS.values() for known in (variant.name, *variant.aliases)}


def find_variant(name: str) -> Variant:
    """The variant of exactly this name or alias, or the one that ``{radix}s{cardinality}x{width}d`` describes.

    Raises:
        UsageError: no such variant; the hint lists names that look alike, none is taken in its place.
    """
    found = _NAMES.get(name) or parse_custom(name)
    if found is None:
        near = difflib.get_close_matches(name.lower(), _NAMES, n=3, cutoff=0.6)
        hint = f"Did you mean {' or '.join(near)}?" if near else "See `resnest-edge models`."
        if name.lower().endswith((".pth", ".pt", ".safetensors")):
            hint = f"A checkpoint is given as --weights {name}."
        raise UsageError(f"no variant is called {name!r}", hint=hint)
    return found


def parse_custom(name: str) -> Variant | None:
    """The 50-layer "fast" ResNeSt that a name such as ``2s1x64d`` describes; None when the name is of another form.

    Such names are the ablation's, where the average pool stands first; :func:`custom` makes any other network.

    Raises:
        UsageError: the name is of this form, but no such network can be built.
    """
    match = _FAST_NAME.fullmatch(name)
    if match is None:
        return None
    radix, cardinality, width = (int(digits) for digits in match.groups())
    variant = custom(radix, cardinality, width, avd_first=True)
    return _NAMES.get(variant.name) or replace(variant, name=f"resnest50_fast_{variant.name}", aliases=(variant.name,))
