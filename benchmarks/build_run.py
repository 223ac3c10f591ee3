"""One build, or one run of NNCF's ``quantize``, in a process of its own: seconds, CPU seconds and peak memory a stage.

``benchmarks.build`` starts these; by hand: ``python -m benchmarks.build_run ours resnest50 --images DIR``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.images import ImageSet, iter_batches, normalise, sample
from resnest_edge.pipeline.pictures import Pictures, open_pictures
from resnest_edge.pipeline.plan import BuildRequest, Job
from resnest_edge.pipeline.progress import silent
from resnest_edge.pipeline.sources import PreprocessingChoice, Source, find_source
from resnest_edge.spec import Precision, Preprocessing, Target

WHO = ("ours", "ours-nearest", "ours-onnxruntime", "nncf-openvino", "nncf-onnx")
_RESET_PEAK = "5"  # proc(5), /proc/PID/clear_refs: the peak resident size becomes the present one


class Stages:
    """What each stage took."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a block: wall-clock and CPU seconds, and the largest resident size of the process, MiB."""
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
        wall, cpu = perf_counter(), process_time()
        yield
        row = {"stage": name, "seconds": perf_counter() - wall, "cpu_seconds": process_time() - cpu}
        self.rows.append({**row, "peak_rss_mib": _peak_mib()})


def main() -> None:
    """Run and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("who", choices=WHO)
    parser.add_argument("variant")
    parser.add_argument("--images", default="demo:train")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--calib-images", type=int, default=512)
    given = parser.parse_args()
    request = BuildRequest(
        what=given.variant,
        weights=given.weights,
        choice=PreprocessingChoice(image_size=given.image_size),
        images=given.images,
        calib_images=given.calib_images,
        round_weights=given.who != "ours-nearest",
        targets=(Target.ONNXRUNTIME if given.who == "ours-onnxruntime" else Target.OPENVINO,),
    )
    source = find_source(request.what, weights=request.weights, choice=request.choice)
    images = sample(open_pictures(given.images, None), given.calib_images, 0)
    stages = Stages()
    if given.who.startswith("ours"):
        _ours(request, source, images, stages)
    else:
        _nncf(given.who, source, images, stages)
    json.dump({"who": given.who, "images": len(images), "stages": stages.rows}, sys.stdout)


def _ours(request: BuildRequest, source: Source, images: ImageSet, stages: Stages) -> None:
    """The stages of `build --precision int8`, one after the other, as ``pipeline.making`` composes them."""
    from resnest_edge.backends.base import BuildOptions
    from resnest_edge.pipeline.bundles import Origin, build_bundle
    from resnest_edge.pipeline.calibrated import Calibrated, open_network
    from resnest_edge.pipeline.runtimes import backend_for
    from resnest_edge.pipeline.typed import write_typed

    with stages.stage("export, simplify, check"):
        network = open_network(request, source, silent)
    job = Job(backend_for(request.targets[0]), Precision.INT8, Path())
    calibrated = Calibrated(network, request, Pictures(images, None, ""), silent)
    placement = calibrated.placement(job.backend)
    with stages.stage("calibrate: decode, run, count"):
        calibrated.prepare([job.backend])
    with stages.stage("choose ranges, round weights, correct biases"):
        scales = calibrated.scales(placement)
    with stages.stage("write Q/DQ"):
        typed = write_typed(network, Precision.INT8, placement, scales)
    with stages.stage("build the engine"), tempfile.TemporaryDirectory() as folder:
        labels = tuple(str(index) for index in range(source.num_classes))
        origin = Origin(source.preprocessing, labels, None, {}, None)
        build_bundle(typed, job.backend, origin, Path(folder) / "cam", force=False, options=BuildOptions())


def _nncf(who: str, source: Source, images: ImageSet, stages: Stages) -> None:
    """NNCF's ``quantize`` at its defaults on the network as trained; it decodes each picture when it takes it."""
    import nncf
    import onnx_ir as ir

    from resnest_edge.graph.export import export_graph
    from resnest_edge.graph.model import INPUT, to_bytes
    from resnest_edge.graph.simplify import simplify_graph
    from resnest_edge.pipeline.core import ANY_BATCH

    assert source.load is not None
    with stages.stage("export, simplify"):
        exported = export_graph(source.load(), image_size=source.preprocessing.image_size, batch=ANY_BATCH)
        core = simplify_graph(exported)
    if who == "nncf-onnx":
        model: Any = ir.to_proto(core)
    else:
        import openvino

        model = openvino.Core().read_model(to_bytes(core))
    pictures = _Inputs(images, source.preprocessing)
    dataset = nncf.Dataset(pictures, (lambda image: {INPUT: image}) if who == "nncf-onnx" else None)
    with stages.stage("quantize"):
        nncf.quantize(model, dataset, subset_size=len(images))


class _Inputs:
    """(1, 3, S, S) normalised pictures, decoded anew each time it is iterated, by threads ahead of the consumer."""

    def __init__(self, images: ImageSet, preprocessing: Preprocessing) -> None:
        self._images, self._preprocessing = images, preprocessing

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        for batch in iter_batches(self._images, self._preprocessing, 1):
            yield normalise(batch.images.astype(np.uint8, copy=False), self._preprocessing)


def _peak_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
