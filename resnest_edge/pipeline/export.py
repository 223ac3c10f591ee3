"""`export`: typed graphs in bundles without engines, for devices that build their own."""

from __future__ import annotations

from resnest_edge.bundle import Bundle
from resnest_edge.pipeline.bundles import export_bundle
from resnest_edge.pipeline.making import Prepared
from resnest_edge.pipeline.plan import BuildRequest, choose_build_pictures, plan_jobs
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.pipeline.sources import find_source


def export(request: BuildRequest, progress: Progress = silent) -> list[Bundle]:
    """Write one bundle for each target and precision; the target's runtime need not be here.

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
    return [
        export_bundle(*prepared.write(job), target=job.backend.target, out=job.out, force=request.force) for job in jobs
    ]
