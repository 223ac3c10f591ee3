"""One cell of a sweep: built, measured, and told as a row whatever happens. Runs in a process of its own."""

from __future__ import annotations

import platform
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from resnest_edge.demo.model import NAME as DEMO
from resnest_edge.errors import ResnestEdgeError
from resnest_edge.images import sample
from resnest_edge.pipeline.benchmark import benchmark_paths
from resnest_edge.pipeline.build import build_source
from resnest_edge.pipeline.pictures import Pictures, open_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.sources import PreprocessingChoice, Source, find_source, remembered
from resnest_edge.search.sweep import Cell, Settings
from resnest_edge.search.sweep_journal import DONE, FAILED, SweepRow

BUG = 70


def run_cell(cell: Cell, settings: Settings) -> SweepRow:
    """Build and measure; whatever goes wrong becomes the row's reason."""
    try:
        return _measured(cell, settings)
    except ResnestEdgeError as exc:
        return failed_row(cell, str(exc), exc.exit_code)
    except Exception as exc:  # noqa: BLE001 - one cell's bug must not cost the others their figures
        return failed_row(cell, f"this is a bug in resnest-edge ({type(exc).__name__}: {exc})", BUG)


def failed_row(cell: Cell, reason: str, exit_code: int, node: str | None = None) -> SweepRow:
    """The row of a cell without figures."""
    return SweepRow(**_named(cell, node), status=FAILED, reason=reason, exit_code=exit_code)


def _named(cell: Cell, node: str | None = None) -> dict[str, Any]:
    return {
        "key": cell.key,
        "variant": cell.variant,
        "image_size": cell.image_size,
        "form": str(cell.form),
        "target": str(cell.target),
        "precision": str(cell.precision),
        "node": node or platform.node(),
    }


def _measured(cell: Cell, settings: Settings) -> SweepRow:
    with tempfile.TemporaryDirectory(prefix="resnest-edge-sweep-") as scratch:
        out = (settings.engines or Path(scratch)) / cell.key
        source = _source(cell.variant, settings.weights, settings.num_classes, cell.image_size)
        request = BuildRequest(
            precisions=(cell.precision,),
            targets=(cell.target,),
            form=cell.form,
            method=settings.method,
            out=out,
            force=True,
        )
        built = build_source(request, source, _pictures(source, settings))
        (row,) = built.results
        speed = benchmark_paths([out], settings.plan).to_json()
    return SweepRow(
        **_named(cell),
        status=DONE,
        reason=row.get("reason"),
        **{name: row[name] for name in ("precision_run", "top1", "drop", "agreement", "evaluated_images")},
        top1_ci95=_pair(row["top1_ci95"]),
        drop_ci95=_pair(row["drop_ci95"]),
        size_mib=row["size_bytes"] / 2**20,
        build_seconds=round(built.prepare_seconds + row["seconds"], 2),
        results=tuple({**result, "bundle": cell.key} for result in speed["results"]),
        conditions=speed["conditions"],
        warnings=(*built.warnings, *speed["warnings"]),
    )


def _pair(bounds: Any) -> tuple[float, float] | None:
    return None if bounds is None else (float(bounds[0]), float(bounds[1]))


def _pictures(source: Source, settings: Settings) -> Pictures:
    """What calibrates, and what measures accuracy: only what was given for it."""
    classes = source.num_classes
    drawn = None
    if settings.images is not None:
        drawn = sample(open_pictures(settings.images, classes), settings.calib_images, settings.seed)
    measured = None if settings.eval_images is None else open_pictures(settings.eval_images, classes)
    return Pictures(drawn, measured, "no --eval-images were given: accuracy was not measured")


@lru_cache(maxsize=1)
def _source(variant: str, weights: str | None, num_classes: int | None, image_size: int) -> Source:
    """A network whose core graph is exported once for all cells that follow each other with it."""
    what = None if variant == DEMO and weights is None else variant
    choice = PreprocessingChoice(image_size=image_size)
    return remembered(find_source(what, weights=weights, num_classes=num_classes, choice=choice))
