"""One network, exported once and calibrated once, whatever number of targets and precisions is written from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from resnest_edge.backends.base import Backend
from resnest_edge.calibration.collect import Statistics
from resnest_edge.calibration.scales import Scales
from resnest_edge.calibration.signs import calibration_signs, domain_signs
from resnest_edge.errors import UsageError
from resnest_edge.graph.model import INPUT, weighted_nodes
from resnest_edge.images import ImageSet
from resnest_edge.pipeline import reuse
from resnest_edge.pipeline.effort import release_memory
from resnest_edge.pipeline.learning import Learning, learn
from resnest_edge.pipeline.pictures import Pictures, spread
from resnest_edge.pipeline.plan import ANY_BATCH, BuildRequest
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.pipeline.sources import Source
from resnest_edge.pipeline.training_images import compare_with_training
from resnest_edge.pipeline.typed import Network, calibrate
from resnest_edge.quantize.alternatives import vary
from resnest_edge.quantize.equalisation import equalise
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import BatchRange

_SIGN_IMAGES = 32


def open_network(request: BuildRequest, source: Source, progress: Progress) -> Network:
    """Export the source's core graph for what was asked.

    Raises:
        UsageError: a batch that the source does not take.
    """
    only = source.batch
    batch = request.batch or (ANY_BATCH if only is None else BatchRange(only, only, only))
    if only is not None and batch != BatchRange(only, only, only):
        raise UsageError(
            f"{source.name} was exported with batch {only} fixed",
            hint=f"Use --batch {only}, or export the model with a dynamic batch.",
        )
    progress("export", 0, None)
    core = reuse.core_graph(request, source)
    known = None if source.load is None else partial(source.remembered, request.form)
    if request.equalize:
        core, known = equalise(core), None  # whose channels are scaled, and no longer what batch norm remembers
    release_memory()  # calibration's peak stands on what is held here
    form = request.form if source.is_resnest else None
    return Network(
        source.name,
        core,
        source.preprocessing,
        source.num_classes,
        batch,
        form,
        request.input_format,
        only,
        known,
    )


class Calibrated:
    """Hands out scales: the user's file, or those of one pass over the calibration images."""

    def __init__(self, network: Network, request: BuildRequest, pictures: Pictures, progress: Progress) -> None:
        self._network, self._request, self._pictures, self._progress = network, request, pictures, progress
        self._statistics: Statistics | None = None
        self._loaded: Scales | None = None
        self._chosen: dict[Placement, Scales] = {}
        self.skipped: tuple[str, ...] = ()

    def prepare(self, backends: list[Backend], varied: Sequence[Placement] = ()) -> None:
        """Calibrate once for every INT8 target; nothing to do when there is none.

        Args:
            backends: the targets.
            varied: placements other than the targets' own that will be written as well.

        Raises:
            ScalesError: the scales file cannot be read.
            ImageError: a calibration image is damaged.
        """
        if not backends:
            return
        if self._request.scales is not None:
            self._loaded = Scales.load(self._request.scales)
            return
        images = self._pictures.calibration
        if images is None:
            raise UsageError("there are no images to calibrate on")
        placements = list(dict.fromkeys([*(self.placement(backend) for backend in backends), *varied]))
        self._statistics, self.skipped = self._observe(placements, images, self._progress)

    def signs(self) -> list[str]:
        """What is odd about the calibration images, by themselves and beside those that are measured on."""
        if self._statistics is None:
            return []
        skip_bad, one = self._request.skip_bad, self._network.only_batch or 1
        told = calibration_signs(self._statistics, INPUT)
        calibration, evaluation = self._pictures.calibration, self._pictures.evaluation
        if calibration is not None:
            told += compare_with_training(self._network, calibration, skip_bad=skip_bad)
        if evaluation is None or not self._chosen:
            return told
        placement, scales = next(iter(self._chosen.items()))
        few = spread(evaluation, _SIGN_IMAGES, one)
        measured, _ = self._observe([placement], few, silent)
        return [*told, *domain_signs(measured, scales)]

    def placement(self, backend: Backend, words: Sequence[str] = ()) -> Placement:
        """What one target wants quantized, varied as words say, with the user's weight width where one was given."""
        placement = backend.int8_placement()
        if words:
            layers = [node.name or "" for node, _ in weighted_nodes(self._network.core.graph, placement.operators)]
            placement = vary(placement, words, layers)
        bits = self._request.weight_bits
        return placement if bits is None else replace(placement, weight_bits=bits)

    def scales(self, placement: Placement) -> Scales:
        """Ranges for one placement's Q/DQ style, and the bias corrections for its weights."""
        if self._loaded is not None:
            return self._loaded
        placement = replace(placement, keep_float=frozenset())
        if placement not in self._chosen:
            images = self._pictures.calibration
            self._chosen[placement] = reuse.scales(
                self._request, self._network, placement, self._statistics, images, lambda: self._choose(placement)
            )
        return self._chosen[placement]

    def _observe(
        self, placements: list[Placement], images: ImageSet, progress: Progress
    ) -> tuple[Statistics, tuple[str, ...]]:
        def make() -> tuple[Statistics, tuple[str, ...]]:
            return calibrate(self._network, placements, images, skip_bad=self._request.skip_bad, progress=progress)

        return reuse.statistics(self._request, self._network, placements, images, make)

    def _choose(self, placement: Placement) -> Scales:
        if self._statistics is None:
            raise UsageError("nothing was calibrated")
        request, images = self._request, self._pictures.calibration
        if images is None:
            raise UsageError("there are no images to calibrate on")
        how = Learning(request.method, request.bias_correction, request.round_weights, request.weight_scales)
        return learn(
            self._network,
            self._statistics,
            placement,
            images,
            how,
            skip_bad=request.skip_bad,
            progress=self._progress,
        )
