"""`export`: typed graphs in bundles without engines, for devices that build their own."""

from __future__ import annotations

from collections.abc import Callable

from resnest_edge.bundle import Bundle
from resnest_edge.pipeline.bundles import export_bundle
from resnest_edge.pipeline.making import Prepared
from resnest_edge.pipeline.plan import BuildRequest, choose_build_pictures, plan_jobs
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.pipeline.sources import find_source


def export(
    request: BuildRequest, progress: Progress = silent, warn: Callable[[str], None] | None = None
) -> list[Bundle]:
    """Write one bundle for each target and precision; the target's runtime need not be here.

    Args:
        request: what was asked.
        progress: told of each stage.
        warn: told what is odd about the calibration images, a sentence each.

    Raises:
        ResnestEdgeError: the first thing that is wrong; bundles finished before it stay, whole.
    """
    source = find_source(
        request.what,
        weights=request.weights,
        num_classes=request.num_classes,
        choice=request.choice,
        progress=progress,
    )
    jobs = plan_jobs(request, source.name, installed=False)
    pictures = choose_build_pictures(request, source)
    prepared = Prepared(request, source, jobs, pictures, progress)
    bundles = [
        export_bundle(*prepared.write(job), target=job.backend.target, out=job.out, force=request.force) for job in jobs
    ]
    if warn is not None:
        for sign in prepared.signs():
            warn(sign)
    return bundles
