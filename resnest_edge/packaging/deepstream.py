"""A folder for NVIDIA DeepStream: the graph as nvinfer feeds it, its configuration, and pipelines that run it.

What decides the layout, in nvinfer's own sources (nvdsinfer, DeepStream 7.0):

- preprocessing is ``y = net-scale-factor · (x − offset)`` with one scale, so normalisation stays in the graph;
- the default classifier parser takes *every* output of the engine for the probabilities of an attribute, the first line
  of the label file for the first of them: the graph gives ``probabilities`` alone;
- ``network-mode=1`` without a calibration table falls back to FP16 with a warning: an engine whose precision is written
  in the graph is built by trtexec, and where nvinfer would build another one it is given no graph to build from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from string import Template

from resnest_edge.backends.tensorrt.trtexec import build_command, dialect
from resnest_edge.bundle import LABELS, MODEL, Bundle, Manifest
from resnest_edge.errors import UnavailableError, UsageError
from resnest_edge.files import write_atomically
from resnest_edge.packaging.names import model_name
from resnest_edge.spec import InputFormat, Precision, QdqStyle, ResizeMode, Target

ENGINE = "model.engine"
INFER = "config_infer_primary.txt"
APP = "deepstream_app_config.txt"
_MODES = {Precision.FP32: 0, Precision.INT8: 1, Precision.FP16: 2, Precision.BF16: 0}
_REBUILDABLE = (Precision.FP32, Precision.FP16)
"""Precisions that nvinfer's own builder makes of the typed graph; of the others it would make something else."""

_BUILD = """#!/bin/sh
# Builds {engine}. Run it once on the machine that runs DeepStream: an engine fits one TensorRT and one GPU.
# --stronglyTyped: precision is what is written in the graph. TensorRT 11 always does so and ignores the flag.
set -eu
cd "$(dirname "$0")"
PATH="$PATH:/usr/src/tensorrt/bin"
exec {command}
"""

_PIPELINE = Template("""#!/bin/sh
# Classifies a video and writes it with the labels on it: sh pipeline.sh VIDEO.mp4 WIDTH HEIGHT OUT.mp4
# The video is H.264 in MP4, WIDTH x HEIGHT pixels. The central square is cut out, as the network was evaluated.
set -eu
[ $$# -eq 4 ] || { echo "usage: sh pipeline.sh VIDEO.mp4 WIDTH HEIGHT OUT.mp4" >&2; exit 2; }
video=$$(realpath "$$1"); width=$$2; height=$$3; out=$$(realpath "$$4")
cd "$$(dirname "$$0")"
$crop
exec gst-launch-1.0 -e \\
    filesrc location="$$video" ! qtdemux ! h264parse ! nvv4l2decoder ! \\
    nvvideoconvert src-crop="$$left:$$top:$$across:$$down" ! 'video/x-raw(memory:NVMM),format=NV12' ! mux.sink_0 \\
    nvstreammux name=mux batch-size=1 width="$$across" height="$$down" batched-push-timeout=40000 ! \\
    nvinfer config-file-path=$infer batch-size=1 ! nvvideoconvert ! nvdsosd display-text=1 ! nvvideoconvert ! \\
    'video/x-raw(memory:NVMM),format=NV12' ! nvv4l2h264enc ! h264parse ! mp4mux ! filesink location="$$out"
""")
# Even numbers: chroma has half the rows and columns.
_CROP = """short=$width; [ "$height" -ge "$short" ] || short=$height
across=$((short * {size} / {resize} / 2 * 2)); down=$across
left=$(((width - across) / 4 * 2)); top=$(((height - down) / 4 * 2))"""
_WHOLE = "across=$width; down=$height; left=0; top=0"


def write(bundle: Bundle, folder: Path) -> str:
    """Write the graph, labels, nvinfer's and deepstream-app's configurations, and two scripts; return the README.

    Raises:
        UsageError: TensorRT cannot run the graph, or nvinfer would send batches that it refuses.
        UnavailableError: ONNX's libraries, which rewrite the interface, are not installed.
        GraphError: the typed graph was not written by this version.
    """
    manifest = bundle.manifest
    _check(bundle)
    _write_graph(bundle.model, folder / MODEL)
    labels = [label.replace(";", ",") for label in bundle.labels]
    (folder / LABELS).write_text(";".join(labels) + "\n", encoding="utf-8")
    info = replace(manifest.info, input_format=InputFormat.FLOAT_NCHW)
    details = manifest.details if manifest.target is Target.TENSORRT else {}
    command = build_command(dialect(Target.TENSORRT, "10.3"), MODEL, ENGINE, info, details)
    (folder / "build_engine.sh").write_text(_BUILD.format(engine=ENGINE, command=command), encoding="utf-8")
    (folder / "pipeline.sh").write_text(_pipeline(manifest), encoding="utf-8")
    (folder / INFER).write_text(_ini(infer_config(manifest), _infer_words(manifest)), encoding="utf-8")
    (folder / APP).write_text(_ini(app_config()), encoding="utf-8")
    return _readme(bundle, replaced=labels != list(bundle.labels))


def infer_config(manifest: Manifest) -> dict[str, dict[str, object]]:
    """The groups of nvinfer's configuration file, after "Gst-nvinfer" in NVIDIA's DeepStream guide."""
    info, core = manifest.info, manifest.details.get("dla_core")
    graph = {"onnx-file": MODEL} if info.precision in _REBUILDABLE else {}
    dla = {} if core is None else {"enable-dla": 1, "use-dla-core": core}
    return {
        "property": {
            "gpu-id": 0,
            **graph,
            "model-engine-file": ENGINE,
            "labelfile-path": LABELS,
            "batch-size": info.batch.optimum,
            "network-mode": _MODES[info.precision],
            "network-type": 1,
            "process-mode": 1,
            "gie-unique-id": 1,
            "infer-dims": f"3;{info.image_size};{info.image_size}",
            "model-color-format": 0,
            "net-scale-factor": 1,
            "maintain-aspect-ratio": 0,
            "scaling-filter": 1,
            "classifier-threshold": 0.0,
            "output-tensor-meta": 0,
            **dla,
        }
    }


def app_config() -> dict[str, dict[str, object]]:
    """The groups of deepstream-app's configuration, after "DeepStream Reference Application" in the same guide."""
    sample = "file:///opt/nvidia/deepstream/deepstream/samples/streams/sample_1080p_h264.mp4"
    return {
        "application": {"enable-perf-measurement": 1, "perf-measurement-interval-sec": 5},
        "tiled-display": {"enable": 1, "rows": 1, "columns": 1, "width": 1280, "height": 720, "gpu-id": 0},
        "source0": {"enable": 1, "type": 3, "uri": sample, "num-sources": 1, "gpu-id": 0},
        "streammux": {
            "gpu-id": 0,
            "live-source": 0,
            "batch-size": 1,
            "batched-push-timeout": 40000,
            "width": 1920,
            "height": 1080,
        },
        "primary-gie": {"enable": 1, "gpu-id": 0, "gie-unique-id": 1, "batch-size": 1, "config-file": INFER},
        "osd": {"enable": 1, "gpu-id": 0, "text-size": 18, "text-color": "1;1;1;1", "text-bg-color": "0;0;0;0.6"},
        "sink0": {"enable": 1, "type": 3, "container": 1, "codec": 1, "sync": 0, "output-file": "labelled.mp4"},
        "tests": {"file-loop": 0},
    }


def _check(bundle: Bundle) -> None:
    info = bundle.manifest.info
    if info.style is QdqStyle.CPU:
        raise UsageError(
            "this INT8 graph is quantized for CPUs, and TensorRT would read its unsigned values wrongly",
            where=bundle.path,
            hint="Export it for TensorRT: resnest-edge export … --precision int8 --target tensorrt --out DIR.",
        )
    if info.batch.minimum > 1:
        raise UsageError(
            f"nvinfer sends batches from 1 up, and this engine takes {info.batch}",
            where=bundle.path,
            hint=f"Build it with --batch 1:{info.batch.optimum}:{info.batch.maximum}.",
        )


def _write_graph(source: Path, target: Path) -> None:
    try:
        from resnest_edge.graph.model import load_graph, to_bytes
        from resnest_edge.graph.planar import planar_probabilities
    except ModuleNotFoundError as exc:
        raise UnavailableError(
            f"the graph's input is rewritten for nvinfer, which needs {exc.name}, and that is not installed",
            hint="Package it on the workstation: pip install 'resnest-edge[export]'.",
        ) from exc
    write_atomically(target, to_bytes(planar_probabilities(load_graph(source))))


def _pipeline(manifest: Manifest) -> str:
    how = manifest.preprocessing
    crop = _WHOLE if how.mode is ResizeMode.SQUASH else _CROP.format(size=how.image_size, resize=how.resize)
    return _PIPELINE.substitute(crop=crop, infer=INFER)


def _infer_words(manifest: Manifest) -> str:
    words = (
        "# Paths are relative to this file. Normalisation is in the engine: pixels are passed on as they are, RGB.\n"
    )
    if manifest.info.precision in _REBUILDABLE:
        return words
    return (
        f"{words}# There is no onnx-file, and that is meant: without {ENGINE}, nvinfer would build an engine of its\n"
        f"# own, in another precision than {manifest.info.precision}. Run build_engine.sh first.\n"
    )


def _ini(groups: Mapping[str, Mapping[str, object]], words: str = "") -> str:
    parts = [
        "\n".join((f"[{name}]", *(f"{key}={value}" for key, value in keys.items()))) for name, keys in groups.items()
    ]
    return words + "\n\n".join(parts) + "\n"


def _readme(bundle: Bundle, *, replaced: bool) -> str:
    how, name = bundle.manifest.preprocessing, model_name(bundle)
    text = (
        f"# {name} for DeepStream\n\n"
        "On the machine that runs DeepStream, once:\n\n"
        "    sh build_engine.sh\n\n"
        f"then nvinfer takes `{INFER}`:\n\n"
        "    sh pipeline.sh VIDEO.mp4 1920 1080 labelled.mp4\n"
        f"    deepstream-app -c {APP}\n\n"
        "The graph takes `images` (float32, NCHW, RGB, 0 to 255) and gives `probabilities` alone, which is what\n"
        "nvinfer's classifier reads; normalisation and softmax are in it.\n\n"
        "## Accuracy\n\n"
    )
    if how.mode is ResizeMode.SQUASH:
        text += "The network was evaluated on whole pictures squashed to a square, which is what nvinfer does.\n"
    else:
        text += (
            f"The network was evaluated on the central square of {how.image_size}/{how.resize} of the shorter side.\n"
            "`pipeline.sh` cuts it out. deepstream-app has no such step: nvinfer squashes the whole frame, and the\n"
            "answers are those of a squashed picture.\n"
        )
    text += (
        "nvinfer's bilinear filter is not Pillow's antialiased one: probabilities differ a little from `evaluate`.\n"
    )
    if replaced:
        text += "\nA `;` in a label separates labels in nvinfer's file; it is written as `,` there.\n"
    return text
