"""What the user wants built: the demo, a ResNeSt with weights, or a classifier of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from resnest_edge.bundle import is_bundle
from resnest_edge.errors import GraphError, UsageError
from resnest_edge.files import sha256_file
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.spec import Form, Interpolation, Preprocessing, ResizeMode

if TYPE_CHECKING:
    import onnx_ir as ir

    from resnest_edge.models.normalisation import Remembered
    from resnest_edge.models.resnest import ResNeSt

CoreMaker = Callable[[Form], "ir.Model"]


@dataclass(frozen=True)
class PreprocessingChoice:
    """What the user said of preprocessing; None leaves the variant's own."""

    image_size: int | None = None
    resize: str | None = None
    interpolation: Interpolation | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    color: str | None = None

    def over(self, base: Preprocessing) -> Preprocessing:
        """Apply the choice; an image size alone keeps the variant's ratio of crop to resize.

        Raises:
            UsageError: ``resize`` is neither a number nor ``squash``, or the sizes do not fit.
        """
        size = self.image_size or base.image_size
        given = {key: getattr(self, key) for key in ("interpolation", "mean", "std", "color") if getattr(self, key)}
        mode, resize = base.mode, round(base.resize * size / base.image_size)
        if self.resize == "squash":
            mode, resize = ResizeMode.SQUASH, size
        elif self.resize is not None:
            if not re.fullmatch("[0-9]{1,5}", self.resize):
                raise UsageError(
                    f"--resize {self.resize[:40]!r} is neither a number of pixels nor squash",
                    hint="For example --resize 256; five digits are the most.",
                )
            mode = ResizeMode.SHORTER_SIDE if base.mode is ResizeMode.SQUASH else base.mode
            resize = int(self.resize)
        return replace(base, image_size=size, resize=resize, mode=mode, **given)


@dataclass(frozen=True)
class Source:
    """A network that can be exported to a core graph.

    Attributes:
        name: variant or model name.
        preprocessing: how its pictures are prepared.
        num_classes: outputs of its classifier.
        make_core: exports, simplifies and checks the FP32 core graph, with a dynamic batch wherever ``batch`` is None.
        is_resnest: whether inference forms apply.
        batch: the only batch size that a foreign model takes, or None.
        parents: digests of what it was read from; empty for random weights.
        load: the network itself, in training form; None for a foreign model.
    """

    name: str
    preprocessing: Preprocessing
    num_classes: int
    make_core: CoreMaker
    is_resnest: bool = True
    batch: int | None = None
    parents: dict[str, str] = field(default_factory=dict)
    load: Callable[[], ResNeSt] | None = None

    def remembered(self, form: Form) -> Remembered:
        """What batch norm remembers of the training images, by layer of a form; nothing where weights are random."""
        from resnest_edge.models.normalisation import NOTHING, remember

        return remember(self.load(), form) if self.load is not None and self.parents else NOTHING

    @property
    def demo(self) -> bool:
        """Whether this is the embedded demo model."""
        return self.name == "resnest-demo"


def find_source(
    what: str | None,
    *,
    weights: str | None = None,
    num_classes: int | None = None,
    choice: PreprocessingChoice | None = None,
    progress: Progress = silent,
) -> Source:
    """Resolve what `build` was given.

    Args:
        what: a variant, an ONNX file, or None for the demo (or, with ``weights``, the variant these weights fit).
        weights: a checkpoint file, ``pretrained`` or ``none``.
        num_classes: classes; read from the weights where there are any.
        choice: preprocessing the user gave.
        progress: told of downloads.

    Raises:
        UsageError: options that do not belong together, or an unknown variant.
        CheckpointError: weights that cannot be read or do not fit.
        GraphError: an ONNX file that is not a classifier.
        UnavailableError: pretrained weights and no network.
    """
    choice = choice or PreprocessingChoice()
    if what is not None and what.lower().endswith(".onnx"):
        if weights is not None or num_classes is not None:
            raise UsageError("an ONNX model brings its own weights and classes", hint="Leave --weights out.")
        return _foreign(Path(what), choice)
    if what is not None and is_bundle(Path(what)):
        raise UsageError(
            f"{what} is a bundle, whose graph is written already",
            hint=f"To build its engine: resnest-edge build {what}. Other commands begin with a network.",
        )
    if what is None and weights is None:
        if num_classes is not None:
            raise UsageError("the demo model has 10 classes", hint="Name a variant and its --weights.")
        return _demo(choice)
    return _resnest(what, weights, num_classes, choice, progress)


def remembered(source: Source) -> Source:
    """The same source, which exports a core graph once for as long as the same form is asked of it."""

    @lru_cache(maxsize=1)
    def exported(form: Form) -> ir.Model:
        return source.make_core(form)

    def make(form: Form) -> ir.Model:
        return exported(form).clone()  # whoever takes it may change it

    return replace(source, make_core=make)


def _demo(choice: PreprocessingChoice) -> Source:
    from resnest_edge.demo import model as demo

    def load() -> ResNeSt:
        from resnest_edge.models.checkpoint import load_checkpoint

        return load_checkpoint(demo.demo_config(), demo.weights_path())

    preprocessing = choice.over(demo.demo_preprocessing())
    parents = {"checkpoint": sha256_file(demo.weights_path())}
    maker = _core_maker(load, preprocessing.image_size)
    return Source("resnest-demo", preprocessing, demo.NUM_CLASSES, maker, parents=parents, load=load)


def _resnest(
    what: str | None, weights: str | None, num_classes: int | None, choice: PreprocessingChoice, progress: Progress
) -> Source:
    from resnest_edge.pipeline.networks import open_network

    network = open_network(what, weights, num_classes, progress)
    preprocessing = choice.over(network.preprocessing)
    maker = _core_maker(network.load, preprocessing.image_size)
    return Source(network.name, preprocessing, network.num_classes, maker, parents=network.parents, load=network.load)


def _core_maker(load: Callable[[], ResNeSt], image_size: int) -> CoreMaker:
    def make(form: Form) -> ir.Model:
        from resnest_edge.pipeline.core import export_core

        return export_core(load(), form, image_size)

    return make


def _foreign(path: Path, choice: PreprocessingChoice) -> Source:
    from resnest_edge.graph.foreign import adopt_classifier
    from resnest_edge.graph.model import load_graph
    from resnest_edge.pipeline.core import simplify_foreign

    classifier = adopt_classifier(load_graph(path))
    if classifier.num_classes is None:
        raise GraphError("the number of classes is not stated in the model's output", where=path)
    size = classifier.image_size or choice.image_size
    _need_preprocessing(path, choice, size)
    if choice.image_size not in (None, size):
        raise UsageError(f"{path} takes {size} pixels, not --image-size {choice.image_size}")
    side = size or 0
    preprocessing = replace(choice, image_size=side).over(Preprocessing(side, side, ResizeMode.SQUASH))

    def make(_: Form) -> ir.Model:
        return simplify_foreign(classifier.core, classifier.batch, side)

    return Source(
        path.stem,
        preprocessing,
        classifier.num_classes,
        make,
        is_resnest=False,
        batch=classifier.batch,
        parents={"model": sha256_file(path)},
    )


def _need_preprocessing(path: Path, choice: PreprocessingChoice, size: int | None) -> None:
    """Unknown preprocessing of a foreign model is an error: guessed, it would cost accuracy that nobody sees."""
    needed = {
        "--mean": choice.mean,
        "--std": choice.std,
        "--color": choice.color,
        "--resize": choice.resize,
        "--image-size": size,
    }
    missing = [option for option, value in needed.items() if value is None]
    if missing:
        raise UsageError(
            f"{path} does not say how its images are prepared; missing: {', '.join(missing)}",
            hint="For ImageNet often: --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --color rgb --resize 256.",
        )
