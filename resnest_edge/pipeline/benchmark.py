"""`benchmark`: bundles side by side on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from resnest_edge.backends.tensorrt.trtexec import dialect, run_command, timing_warnings
from resnest_edge.bundle import Bundle, open_bundle
from resnest_edge.errors import UsageError
from resnest_edge.images import iter_batches
from resnest_edge.measure.latency import Benchmark, Plan, Subject, benchmark
from resnest_edge.measure.summary import describe_result
from resnest_edge.pipeline.pictures import first, open_pictures
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.spec import Target

OPENER = "resnest_edge.pipeline.runtimes:reopen_session"
_FRAMES = 32


def benchmark_paths(
    paths: Sequence[Path],
    plan: Plan,
    *,
    images: str | None = None,
    trust: Path | None = None,
    progress: Progress = silent,
) -> Benchmark:
    """Open several bundles and measure them: see :func:`benchmark_bundles`.

    Args:
        paths: bundles; ratios are against the first.
        plan: batch sizes, streams and durations.
        images: pictures to feed; noise if None.
        trust: a public key that must have signed every bundle.
        progress: told of each step.
    """
    bundles = [open_bundle(path, trust=trust) for path in paths]
    return benchmark_bundles(bundles, plan, images=images, progress=progress)


def benchmark_bundles(
    bundles: Sequence[Bundle], plan: Plan, *, images: str | None = None, progress: Progress = silent
) -> Benchmark:
    """Measure several bundles, interleaved in one run, each in a process that loads these very bytes or none.

    Raises:
        UsageError: bundles of different image sizes cannot be fed the same pictures.
        BundleError: damaged, changed since it was opened, or not for this machine.
    """
    frames = None
    if images is not None:
        if len({bundle.manifest.preprocessing for bundle in bundles}) > 1:
            raise UsageError("bundles of different preprocessing cannot be fed the same images")
        manifest = bundles[0].manifest
        pictures = first(open_pictures(images, None), _FRAMES)
        frames = np.concatenate([batch.images for batch in iter_batches(pictures, manifest.preprocessing, _FRAMES)])
    subjects = [
        Subject(
            str(bundle.path),
            bundle.path,
            bundle.manifest.target.value,
            known={"digest": bundle.digest, "trusted": bundle.trusted},
        )
        for bundle in bundles
    ]
    measured = benchmark(
        subjects,
        plan,
        opener=OPENER,
        frames=frames,
        on_progress=lambda done, total: progress("benchmark", done, total),
    )
    return with_trtexec(measured, {str(bundle.path): bundle for bundle in bundles})


def with_trtexec(measured: Benchmark, bundles: Mapping[str, Bundle]) -> Benchmark:
    """Add to TensorRT's results the `trtexec` command that repeats each, and to the warnings what trtexec would say."""
    results, found = [], []
    for result in measured.results:
        manifest = bundles[result.bundle].manifest
        if manifest.target not in (Target.TENSORRT, Target.TENSORRT_RTX):
            results.append(result)
            continue
        command = run_command(
            dialect(manifest.target, manifest.runtime),
            str(bundles[result.bundle].engine),
            manifest.info,
            batch=result.batch,
            streams=result.streams,
            cuda_graph=bool(result.settings.get("cuda_graph", True)),
        )
        results.append(replace(result, trtexec=command))
        found += [f"{text} ({describe_result(result)})" for text in timing_warnings(result.timings_ms)]
    return replace(measured, results=tuple(results), warnings=(*measured.warnings, *found))
