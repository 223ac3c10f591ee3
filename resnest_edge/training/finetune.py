"""`finetune`: a few epochs under the Q/DQ of one target, from a checkpoint to a checkpoint that `build` takes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from resnest_edge.calibration.scales import Scales
from resnest_edge.errors import ParityError, UsageError
from resnest_edge.files import refuse_existing
from resnest_edge.graph.model import digest
from resnest_edge.images import ImageSet, sample
from resnest_edge.measure.accuracy import Accuracy, compare
from resnest_edge.models.checkpoint import save_checkpoint
from resnest_edge.models.resnest import ResNeSt
from resnest_edge.models.training_form import to_training_form
from resnest_edge.pipeline.answers import graph_answers
from resnest_edge.pipeline.calibrated import Calibrated, open_network
from resnest_edge.pipeline.core import export_core
from resnest_edge.pipeline.pictures import Pictures, is_labelled, open_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.pipeline.runtimes import backend_for, default_target
from resnest_edge.pipeline.sources import Source, find_source
from resnest_edge.pipeline.typed import Network
from resnest_edge.quantize.bias import shift_biases
from resnest_edge.quantize.insertion import quantize_graph
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import Form, Precision, Preprocessing
from resnest_edge.training.graph_network import GraphNetwork
from resnest_edge.training.journal import Journal
from resnest_edge.training.train import Recipe, make_optimizer, train

METHOD = "finetuned"


@dataclass(frozen=True)
class Quantized:
    """A network as it is quantized: what fine-tuning starts from and ends with.

    Attributes:
        network: training form.
        core: its FP32 core graph in the ``split`` form.
        scales: ranges, and bias corrections, of that core.
        placement: of the target, in FP32 around the Q/DQ.
        preprocessing: how pictures become the core's input.
    """

    network: ResNeSt
    core: ir.Model
    scales: Scales
    placement: Placement
    preprocessing: Preprocessing

    def graph(self) -> ir.Model:
        """The quantized core graph."""
        return quantize_graph(self.corrected(), self.scales, self.placement)

    def corrected(self) -> ir.Model:
        """The core graph with its biases corrected."""
        return shift_biases(self.core, self.scales.corrections)

    def trainable(self) -> GraphNetwork:
        """The quantized graph as a module whose weights can be trained."""
        return GraphNetwork(self.corrected(), self.graph(), self.placement)

    def with_weights(self, folded: Mapping[str, Tensor]) -> Quantized:
        """The same ranges around trained weights; biases are trained, so no correction is left.

        Raises:
            ParityError: the checkpoint would not give the weights that were trained.
        """
        network = to_training_form(self.network, {_plain(name): tensor for name, tensor in folded.items()})
        core = export_core(network, Form.SPLIT, self.preprocessing.image_size)
        stored = {name: value.const_value for name, value in core.graph.initializers.items()}
        for name, tensor in folded.items():
            value = stored.get(_plain(name))
            if value is None or not torch.equal(torch.from_numpy(value.numpy().copy()), tensor):
                raise ParityError("a checkpoint of the trained network would have other weights", where=name)
        scales = replace(self.scales, graph_digest=digest(core), method=METHOD, corrections={})
        return replace(self, network=network, core=core, scales=replace(scales, weight_bits=self.placement.weight_bits))


def finetune(request: BuildRequest, recipe: Recipe, progress: Progress = silent) -> dict[str, Any]:
    """Fine-tune a ResNeSt for one INT8 target; writes the checkpoint ``request.out``, and its scales beside it.

    An interrupted run leaves ``<out>.resume``; the same command goes on there.

    Args:
        request: as for a build of one INT8 target; ``images`` are labelled and train, ``eval_images`` measure.
        recipe: how to train.
        progress: told of each stage.

    Returns:
        ``{checkpoint, scales, images, epochs, resumed, losses, fp32_top1, before, after}``: the last two hold top-1,
        drop, agreement, logit SQNR and KL against the float network it began with; None without ``eval_images``.

    Raises:
        UsageError: not a ResNeSt, several targets, or images without labels.
        OutputError: a file exists already, or cannot be written.
        InputError: the state of an interrupted run that is another one.
        GateError: the loss is no longer a number.
    """
    out = request.out
    if out is None or out.suffix != ".safetensors":
        raise UsageError("fine-tuning writes a checkpoint", hint="Give --out FILE.safetensors.")
    scales_path, resume = out.with_suffix(".scales.json"), out.with_name(f"{out.name}.resume")
    for path in (out, scales_path):
        refuse_existing(path, force=request.force)
    before, images, evaluation = prepare(request, progress)
    journal = Journal(resume, _identity(before, images, recipe))
    if request.force:
        journal.remove()
    student = before.trainable()
    resumed, losses = run(student, before, images, recipe, journal, progress)
    after = before.with_weights(student.folded())
    after.scales.save(scales_path)
    save_checkpoint(after.network, out, {"resnest_edge.finetuned": request.command or "finetune"})
    journal.remove()
    return {
        "checkpoint": str(out),
        "scales": str(scales_path),
        "images": len(images),
        "epochs": recipe.epochs,
        "resumed": resumed,
        "losses": losses,
        **measure(before, after, evaluation, progress),
    }


def prepare(request: BuildRequest, progress: Progress) -> tuple[Quantized, ImageSet, ImageSet | None]:
    """Load, export and calibrate; the training images, and those to measure on.

    Raises:
        UsageError: see :func:`finetune`.
    """
    if len(request.targets) > 1:
        raise UsageError("fine-tuning is for one target at a time")
    source = _source(request, progress)
    where, measured = request.images, request.eval_images
    if source.demo and where is None:
        where, measured = "demo:train", measured or "demo:test"
    if where is None:
        raise UsageError("fine-tuning needs labelled images", hint="Give --images DIR.")
    images = open_pictures(where, source.num_classes)
    if not is_labelled(images):
        raise UsageError(f"the images of {where} are not labelled", hint="Give a folder with one folder a class.")
    evaluation = None if measured is None else open_pictures(measured, source.num_classes)
    # Weights that train are rounded to nearest at each step, between the scales of their largest.
    request = replace(request, form=Form.SPLIT, round_weights=False, weight_scales="max", equalize=False)
    network = open_network(request, source, progress)
    drawn = Pictures(sample(images, request.calib_images, request.seed), None, "")
    calibrated = Calibrated(network, request, drawn, progress)
    backend = backend_for(request.targets[0] if request.targets else default_target())
    calibrated.prepare([backend])
    placement = calibrated.placement(backend)
    return _quantized(source, network, calibrated.scales(placement), placement), images, evaluation


def run(
    student: GraphNetwork,
    before: Quantized,
    images: ImageSet,
    recipe: Recipe,
    journal: Journal | None,
    progress: Progress,
) -> tuple[int, list[float]]:
    """Train in place, from where an interrupted run stopped.

    Returns:
        The number of epochs that the interrupted run had done, and the mean loss of every epoch.
    """
    optimizer = make_optimizer(student, recipe)
    losses = [] if journal is None else journal.load(student, optimizer)
    resumed = len(losses)

    def keep(_: int, state: torch.optim.Adam, loss: float) -> None:
        losses.append(loss)
        if journal is not None:
            journal.save(student, state, losses)

    teacher: nn.Module = before.network
    train(
        student,
        teacher,
        images,
        before.preprocessing,
        recipe,
        optimizer=optimizer,
        done=resumed,
        on_epoch=keep,
        progress=progress,
    )
    return resumed, losses


def measure(before: Quantized, after: Quantized, images: ImageSet | None, progress: Progress) -> dict[str, Any]:
    """Both quantized graphs, run as written, against the float network that fine-tuning began with."""
    if images is None:
        return {"fp32_top1": None, "before": None, "after": None}

    def answers(graph: ir.Model, stage: str) -> Accuracy:
        return graph_answers(graph, images, before.preprocessing, progress=progress, stage=stage)

    reference = answers(before.core, "measure FP32")
    rows = {}
    for name, quantized in (("before", before), ("after", after)):
        found = answers(quantized.graph(), f"measure {name}")
        rows[name] = {"top1": found.top1, **compare(found, reference).to_json()}
    return {"fp32_top1": reference.top1, **rows}


def _source(request: BuildRequest, progress: Progress) -> Source:
    source = find_source(
        request.what,
        weights=request.weights,
        num_classes=request.num_classes,
        choice=request.choice,
        progress=progress,
    )
    if source.load is None:
        raise UsageError("only a ResNeSt checkpoint is fine-tuned", hint="An ONNX model brings no way to train it.")
    return source


def _quantized(source: Source, network: Network, scales: Scales, placement: Placement) -> Quantized:
    assert source.load is not None
    inside = replace(placement, float_type=Precision.FP32)
    scales.check_graph(digest(network.core), placement.style, placement.weight_bits, inside.float_type)
    return Quantized(source.load().float().eval(), network.core, scales, inside, network.preprocessing)


def _identity(before: Quantized, images: ImageSet, recipe: Recipe) -> dict[str, object]:
    digests = "".join(images.digest(index) for index in range(len(images)))
    return {
        "graph": digest(before.core),
        "scales": before.scales.digest(),
        "weight_bits": before.placement.weight_bits,
        "images": hashlib.sha256(digests.encode()).hexdigest(),
        **asdict(recipe),
    }


def _plain(name: str) -> str:
    """A tensor's name in the core graph before its bias was corrected."""
    return name.removesuffix(".corrected")
