"""Which stages of a build a cache may give, and what each depends on: the core graph, statistics, and scales."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnest_edge.calibration.saved import load_statistics, save_statistics
from resnest_edge.calibration.scales import Scales
from resnest_edge.errors import ImageError
from resnest_edge.files import read_regular, write_atomically
from resnest_edge.graph.model import digest, load_graph, save_graph
from resnest_edge.images import ImageSet
from resnest_edge.pipeline.sources import Source
from resnest_edge.quantize.insertion import activation_tensors
from resnest_edge.quantize.placement import Placement
from resnest_edge.stage_cache import Step

if TYPE_CHECKING:
    import onnx_ir as ir

    from resnest_edge.calibration.collect import Statistics
    from resnest_edge.pipeline.plan import BuildRequest
    from resnest_edge.pipeline.typed import Network

_Counted = tuple["Statistics", tuple[str, ...]]
_NAMES_BYTES = 1 << 28
# What says where a build's inputs and outputs are, not what they are: digests and placements stand for them. Anything
# else that can be asked for, also what is added one day, is taken to change scales.
_ELSEWHERE = frozenset(
    (
        *("what", "weights", "num_classes", "choice", "precisions", "targets", "batch", "input_format"),
        *("images", "eval_images", "calib_images", "seed", "scales"),
        *("trust", "tuned", "out", "force", "command", "options", "cache"),
    )
)


def core_graph(request: BuildRequest, source: Source) -> ir.Model:
    """The source's core graph, exported now or by an earlier build."""
    if request.cache is None:
        return source.make_core(request.form)
    size = source.preprocessing.image_size
    parts = {
        "name": source.name,
        "parents": source.parents,
        "num_classes": source.num_classes,
        "image_size": size,
        "batch": source.batch,
        "form": request.form,
    }
    return request.cache.fetch(
        Step("core", f"the graph of {source.name} at {size} pixels", parts),
        lambda: source.make_core(request.form),
        lambda core, folder: save_graph(core, folder / "core.onnx"),
        lambda folder: load_graph(folder / "core.onnx"),
    )


def statistics(
    request: BuildRequest,
    network: Network,
    placements: Sequence[Placement],
    images: ImageSet,
    make: Callable[[], _Counted],
) -> _Counted:
    """Histograms of the tensors that the placements quantize, and the bad pictures left out."""
    step = None if request.cache is None else _statistics_step(request, network, placements, images)
    if request.cache is None or step is None:
        return make()
    return request.cache.fetch(step, make, _write_counted, _read_counted)


def scales(
    request: BuildRequest,
    network: Network,
    placement: Placement,
    statistics: Statistics | None,
    images: ImageSet | None,
    make: Callable[[], Scales],
) -> Scales:
    """Ranges, and whatever else is learned of one placement from the calibration images."""
    step = None
    if request.cache is not None and statistics is not None and images is not None:
        step = _scales_step(request, network, placement, statistics, images)
    if request.cache is None or step is None:
        return make()
    return request.cache.fetch(
        step,
        make,
        lambda scales, folder: scales.save(folder / "scales.json"),
        lambda folder: Scales.load(folder / "scales.json"),
    )


def _statistics_step(
    request: BuildRequest, network: Network, placements: Sequence[Placement], images: ImageSet
) -> Step | None:
    pictures = _pictures(images, named=request.skip_bad)
    if pictures is None:
        return None
    tensors = dict.fromkeys(name for place in placements for name in activation_tensors(network.core, place))
    parts = {**_calibrated_on(request, network, pictures), "tensors": list(tensors)}
    return Step("statistics", f"the statistics of {len(images)} images in {network.name}", parts)


def _scales_step(
    request: BuildRequest, network: Network, placement: Placement, statistics: Statistics, images: ImageSet
) -> Step | None:
    pictures = _pictures(images, named=request.skip_bad)
    if pictures is None:
        return None
    asked = {field.name: getattr(request, field.name) for field in fields(request) if field.name not in _ELSEWHERE}
    parts = {
        **_calibrated_on(request, network, pictures),
        "tensors": list(statistics.observers),
        "placement": placement,
        "asked": asked,
    }
    return Step("scales", f"the scales of {network.name} for {placement.style} Q/DQ", parts)


def _calibrated_on(request: BuildRequest, network: Network, pictures: list[list[str]]) -> dict[str, Any]:
    return {
        "core": digest(network.core),
        "preprocessing": network.preprocessing,
        "only_batch": network.only_batch,
        "pictures": pictures,
        "skip_bad": request.skip_bad,
    }


def _pictures(images: ImageSet, *, named: bool) -> list[list[str]] | None:
    """Each picture in order, by its digest; and by its name, where bad ones are left out and named.

    None where one cannot be read, which calibrating will tell of.
    """
    try:
        return [[images.digest(index), *([images.name(index)] if named else [])] for index in range(len(images))]
    except ImageError:
        return None


def _write_counted(counted: _Counted, folder: Path) -> None:
    found, skipped = counted
    save_statistics(found, folder / "statistics.npz")
    write_atomically(folder / "skipped.json", json.dumps(skipped).encode())


def _read_counted(folder: Path) -> _Counted:
    skipped = json.loads(read_regular(folder / "skipped.json", _NAMES_BYTES))
    return load_statistics(folder / "statistics.npz"), tuple(str(name) for name in skipped)
