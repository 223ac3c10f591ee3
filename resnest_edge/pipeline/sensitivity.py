"""A probe of one network for one target, prepared as `build` prepares it."""

from __future__ import annotations

import hashlib
from typing import Any

from resnest_edge.calibration.scales import Scales
from resnest_edge.errors import UsageError
from resnest_edge.graph.model import digest
from resnest_edge.images import ImageSet, sample
from resnest_edge.pipeline.calibrated import Calibrated, open_network
from resnest_edge.pipeline.pictures import Pictures, open_pictures, spread
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.probe import Probe
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.pipeline.runtimes import backend_for, default_target
from resnest_edge.pipeline.sources import find_source
from resnest_edge.pipeline.typed import Network
from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import Target


def open_probe(request: BuildRequest, count: int, progress: Progress = silent) -> tuple[Probe, dict[str, Any]]:
    """Export and calibrate a network, and load the images its layers are measured on.

    Args:
        request: as for a build of one INT8 target; ``images`` calibrate, ``eval_images`` (or else they) measure.
        count: images to measure on, spread evenly over those given.
        progress: told of each stage.

    Returns:
        The probe, and what its effects belong to: model, target, digests of scales and images.

    Raises:
        UsageError: several targets, or no images.
        ResnestEdgeError: as `build`.
    """
    if len(request.targets) > 1:
        raise UsageError("sensitivity is measured for one target at a time")
    source = find_source(
        request.what,
        weights=request.weights,
        num_classes=request.num_classes,
        choice=request.choice,
        progress=progress,
    )
    where = request.images or ("demo:train" if source.demo else None)
    if where is None:
        raise UsageError("sensitivity needs images to calibrate on", hint="Give --images DIR.")
    images = open_pictures(where, source.num_classes)
    measured = open_pictures(request.eval_images, source.num_classes) if request.eval_images else images
    drawn = Pictures(sample(images, request.calib_images, request.seed), None, "")
    network = open_network(request, source, progress)
    calibrated = Calibrated(network, request, drawn, progress)
    target = request.targets[0] if request.targets else default_target()
    backend = backend_for(target)
    calibrated.prepare([backend])
    placement = calibrated.placement(backend)
    scales = calibrated.scales(placement)
    few = spread(measured, count)
    return Probe(network, scales, placement, few), _identity(network, target, scales, placement, few)


def _identity(
    network: Network, target: Target, scales: Scales, placement: Placement, images: ImageSet
) -> dict[str, Any]:
    """What effects belong to; a file of any other run is not gone on with."""
    digests = "".join(images.digest(index) for index in range(len(images)))
    return {
        "model": network.name,
        "target": target.value,
        "graph": digest(network.core),
        "scales": scales.digest(),
        "weight_bits": placement.weight_bits,
        "images": hashlib.sha256(digests.encode()).hexdigest(),
    }
