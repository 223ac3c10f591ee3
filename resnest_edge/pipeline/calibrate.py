"""`calibrate`: a reproducible list of calibration images, and the ranges they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resnest_edge.errors import UsageError
from resnest_edge.files import refuse_existing
from resnest_edge.images import ImageSet, sample, write_list
from resnest_edge.pipeline.calibrated import Calibrated, open_network
from resnest_edge.pipeline.pictures import Pictures, open_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.pipeline.runtimes import backend_for, default_target
from resnest_edge.pipeline.sources import find_source


def calibrate(
    request: BuildRequest, list_path: Path | None, scales_path: Path | None, progress: Progress = silent
) -> dict[str, Any]:
    """Draw images and write their list, the ranges they give, or both.

    Returns:
        ``{source, images, list, scales, warnings}``: paths are None where nothing was asked for; warnings are what is
        odd about the images, a sentence each, where ranges were taken from them.

    Raises:
        UsageError: neither file was asked for, or no images were given for a model of the user's own.
        OutputError: a file exists already and may not be replaced.
    """
    if list_path is None and scales_path is None:
        raise UsageError("there is nothing to write", hint="Give --list FILE, --out FILE, or both.")
    for path in (list_path, scales_path):
        if path is not None:
            refuse_existing(path, force=request.force)
    if request.images is None and (request.what is not None or request.weights is not None):
        raise UsageError("calibration needs images", hint="Give --images DIR.")
    signs: list[str] = []
    if scales_path is None:
        drawn: ImageSet = sample(
            open_pictures(request.images or "demo:train", None), request.calib_images, request.seed
        )
    else:
        drawn, signs = _save_scales(request, scales_path, progress)
    if list_path is not None:
        write_list(drawn, list_path, force=request.force)
    return {
        "source": request.images or "demo:train",
        "images": len(drawn),
        "list": None if list_path is None else str(list_path),
        "scales": None if scales_path is None else str(scales_path),
        "warnings": signs,
    }


def _save_scales(request: BuildRequest, path: Path, progress: Progress) -> tuple[ImageSet, list[str]]:
    if len(request.targets) > 1:
        raise UsageError("ranges are saved for one target at a time")
    source = find_source(
        request.what,
        weights=request.weights,
        num_classes=request.num_classes,
        choice=request.choice,
        progress=progress,
    )
    images = open_pictures(request.images or "demo:train", source.num_classes)
    drawn = sample(images, request.calib_images, request.seed)
    backend = backend_for(request.targets[0] if request.targets else default_target())
    network = open_network(request, source, progress)
    calibrated = Calibrated(network, request, Pictures(drawn, None, ""), progress)
    calibrated.prepare([backend])
    calibrated.scales(calibrated.placement(backend)).save(path)
    return drawn, calibrated.signs()
