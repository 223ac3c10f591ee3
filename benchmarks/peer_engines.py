"""The engines that ``benchmarks.peers`` compares, ours and others', made once into a folder that keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_recipes import BATCH, Trained, describe_network, peers
from benchmarks.running import EngineFolder
from resnest_edge import environment
from resnest_edge.files import sha256_file
from resnest_edge.images import iter_batches, sample, write_list
from resnest_edge.measure.frames import Frames
from resnest_edge.pipeline.build import build_source
from resnest_edge.pipeline.pictures import Pictures, open_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.sources import PreprocessingChoice, Source, find_source, remembered
from resnest_edge.spec import Form, Precision, Target

OURS = "resnest-edge INT8, OpenVINO"
_FRAMES = 32
_LIST, _PIXELS = "calibration.txt", "frames.npy"


@dataclass(frozen=True)
class Ours:
    """One of our engines.

    Attributes:
        name: for the table.
        form: inference form.
        target: runtime.
        precision: of the typed graph.
    """

    name: str
    form: Form
    target: Target
    precision: Precision


@dataclass(frozen=True)
class Made:
    """What all engines of a folder are made of.

    Attributes:
        what: the network.
        weights: a checkpoint, ``pretrained`` or ``none``.
        image_size: pixels; None is the variant's own.
        images: calibration pictures.
        calib_images: how many.
    """

    what: str
    weights: str
    image_size: int | None
    images: str
    calib_images: int

    def identity(self) -> dict[str, Any]:
        """Plain values, with the digest of the weights and the versions that make engines."""
        file = Path(self.weights)
        digest = sha256_file(file) if file.is_file() else None
        return {**asdict(self), "weights_sha256": digest, "versions": environment.tool_versions()}


def ours() -> Iterator[Ours]:
    """Every precision of the split form, and INT8 in the other equal forms."""
    openvino, onnxruntime = Target.OPENVINO, Target.ONNXRUNTIME
    yield Ours(OURS, Form.SPLIT, openvino, Precision.INT8)
    yield Ours("resnest-edge BF16, OpenVINO", Form.SPLIT, openvino, Precision.BF16)
    yield Ours("resnest-edge FP32, OpenVINO", Form.SPLIT, openvino, Precision.FP32)
    yield Ours("resnest-edge INT8, ONNX Runtime", Form.SPLIT, onnxruntime, Precision.INT8)
    yield Ours("resnest-edge FP32, ONNX Runtime", Form.SPLIT, onnxruntime, Precision.FP32)
    yield Ours("resnest-edge INT8, OpenVINO, grouped form", Form.GROUPED, openvino, Precision.INT8)
    yield Ours("resnest-edge INT8, OpenVINO, dense form", Form.DENSE, openvino, Precision.INT8)


def chosen(only: Sequence[str]) -> list[tuple[str, str]]:
    """(name, target) of every engine whose name holds one of ``only``, ours first; :data:`OURS` always."""
    named = [(one.name, one.target.value) for one in ours()] + [(peer.name, peer.runtime) for peer in peers()]
    return [
        (name, target)
        for name, target in named
        if name == OURS or not only or any(part.lower() in name.lower() for part in only)
    ]


class Workshop:
    """Makes engines of one network; what several need is made when the first asks for it.

    Args:
        made: what they are made of.
        kept: where they stand.
    """

    def __init__(self, made: Made, kept: EngineFolder) -> None:
        self._made, self._kept = made, kept

    def make(self, wanted: Sequence[tuple[str, str]]) -> None:
        """Make every engine that is not here yet."""
        names = {name for name, _ in wanted if not self._kept.has(name)}
        if names and not self._kept.notes:
            self._describe()
        for one in ours():
            if one.name in names:
                self._kept.make(one.name, partial(self._build, one))
        for peer in peers():
            if peer.name in names:
                self._kept.make(peer.name, partial(_into, partial(peer.make, self._network)))

    def _describe(self) -> None:
        """Draw the calibration pictures and keep what is fed and said of the network."""
        folder = self._kept.path
        folder.mkdir(parents=True, exist_ok=True)
        drawn = sample(open_pictures(self._made.images, None), self._made.calib_images, 0)
        write_list(drawn, folder / _LIST, force=True)
        source, network = self._source, self._network
        frames = next(iter_batches(drawn, source.preprocessing, min(_FRAMES, len(drawn)))).images
        np.save(folder / _PIXELS, frames.astype(np.uint8), allow_pickle=False)
        self._kept.notes = {
            "model": network.name,
            "image_size": source.preprocessing.image_size,
            "macs_per_image": network.macs,
        }
        self._kept.save()

    @cached_property
    def _request(self) -> BuildRequest:
        """Its pictures are a list, so that everybody calibrates on the same ones."""
        return BuildRequest(
            what=self._made.what,
            weights=self._made.weights,
            choice=PreprocessingChoice(image_size=self._made.image_size),
            batch=BATCH,
            images=str(self._kept.path / _LIST),
            calib_images=self._made.calib_images,
        )

    @cached_property
    def _source(self) -> Source:
        request = self._request
        return remembered(find_source(request.what, weights=request.weights, choice=request.choice))

    @cached_property
    def _network(self) -> Trained:
        return describe_network(self._request)

    def _build(self, one: Ours, out: Path) -> None:
        asked = replace(self._request, form=one.form, targets=(one.target,), precisions=(one.precision,), out=out)
        pictures = Pictures(open_pictures(str(asked.images), None), None, "speed was measured, not accuracy")
        build_source(asked, self._source, pictures)


def _into(work: Any, out: Path) -> None:
    out.mkdir()
    work(out)


def kept_frames(kept: EngineFolder) -> Frames:
    """The pictures that every engine of a folder is fed: (N, S, S, 3) uint8 RGB."""
    frames: Frames = np.load(kept.path / _PIXELS, allow_pickle=False)
    return frames
