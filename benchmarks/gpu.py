"""A network on this machine's GPU in every form and precision, beside PyTorch on the same GPU and the card's limits.

    python -m benchmarks.gpu --name h200 --variant resnest50 --weights W.safetensors --images train/ --eval-images val/

Without a variant it takes the embedded demo model and its images. It exports typed graphs, builds them with TensorRT or
with TensorRT for RTX, compares every engine's answers with ONNX Runtime's, measures all engines interleaved, and writes
reports/gpu-NAME/: `report.json`, `report.md` and `index.html` of the engines, `gpu.json` and `gpu.md` of what stands
beside them.

A machine with a GPU may lack what exporting needs, or have another PyTorch, the one for its GPU. Then export elsewhere:

    workstation$ python -m benchmarks.gpu --export-only exported --variant resnest50 --weights W --images train/
    gpu$         python -m benchmarks.gpu --exported exported --variant resnest50 --weights W --eval-images val/

It was written on a machine without a GPU and has run on none so far.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu_limits import measure_card, measure_peers
from resnest_edge.backends.cuda import load_cuda
from resnest_edge.backends.tensorrt import TensorRTBackend
from resnest_edge.errors import ResnestEdgeError, UnavailableError
from resnest_edge.files import write_atomically
from resnest_edge.spec import Form, Precision, Target

EDGE = [sys.executable, "-m", "resnest_edge"]
PRECISIONS = (Precision.FP32, Precision.FP16, Precision.INT8)
FORMS = (Form.SPLIT, Form.GROUPED, Form.DENSE)
REFERENCE = "reference"
Run = Callable[[Sequence[str]], Any]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--name", default="here", help="of the card: the report goes to reports/gpu-NAME")
    parser.add_argument("--variant", help="such as resnest50; the embedded demo model if not given")
    parser.add_argument("--weights", help="a checkpoint, pretrained, or none (random)")
    parser.add_argument("--images", help="to calibrate on")
    parser.add_argument("--eval-images", default="demo:test", help="labelled, to compare answers on")
    parser.add_argument("--batch", type=int, action="append", help="may be repeated (default: 1, 8, 32)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one slice of a measurement")
    parser.add_argument("--work", type=Path, default=Path("engines/gpu"), help="where engines are built")
    exports = parser.add_mutually_exclusive_group()
    exports.add_argument("--exported", type=Path, metavar="DIR", help="typed graphs that --export-only wrote elsewhere")
    exports.add_argument("--export-only", type=Path, metavar="DIR", help="write the typed graphs there, and stop")
    given = parser.parse_args(arguments)
    given.batch = given.batch or [1, 8, 32]
    return given


def run_edge(words: Sequence[str]) -> Any:
    """Run resnest-edge with --json and give what it printed; its messages go to stderr.

    Raises:
        CalledProcessError: it failed, and has said why.
    """
    print("+ resnest-edge", *words, file=sys.stderr)
    return json.loads(subprocess.run([*EDGE, *words, "--json"], stdout=subprocess.PIPE, check=True).stdout)


def choose_target() -> Target:
    """TensorRT where it is installed, else TensorRT for RTX.

    Raises:
        UnavailableError: neither is, or there is no GPU.
    """
    load_cuda()
    try:
        TensorRTBackend(Target.TENSORRT).version()
    except UnavailableError:
        TensorRTBackend(Target.TENSORRT_RTX).version()
        return Target.TENSORRT_RTX
    return Target.TENSORRT


def export_commands(given: argparse.Namespace, folder: Path) -> list[list[str]]:
    """The typed graphs: FP32 for ONNX Runtime to compare with, then every form in every precision for TensorRT."""
    model = [given.variant] if given.variant else []
    for option in ("weights", "images"):
        if (value := getattr(given, option)) is not None:
            model += [f"--{option}", value]
    low, high = min(given.batch), max(given.batch)
    best = next(size for size in sorted(given.batch) if size >= high / 4)
    batch = ["--batch", f"{low}:{best}:{high}"] if low < high else ["--batch", str(low)]
    precisions = [word for precision in PRECISIONS for word in ("--precision", str(precision))]
    reference = [*model, "--target", "onnxruntime", "--precision", "fp32", "--out", str(folder / REFERENCE)]
    graphs = ["--target", "tensorrt", *precisions, *batch]
    forms = [[*model, "--form", str(form), *graphs, "--out", str(folder / str(form))] for form in FORMS]
    return [["export", *command, "--force"] for command in (reference, *forms)]


def build_commands(given: argparse.Namespace, target: Target, exported: Path) -> list[list[str]]:
    """The engines, each from its exported bundle."""
    gpus = ["--compute-capability", "current"] if target is Target.TENSORRT_RTX else []
    reference = [str(exported / REFERENCE), "--target", "onnxruntime", "--out", str(given.work / REFERENCE)]
    engines = [
        [str(exported / bundle.relative_to(given.work)), "--target", str(target), *gpus, "--out", str(bundle)]
        for bundle in bundles(given)
    ]
    return [["build", *command, "--force"] for command in (reference, *engines)]


def bundles(given: argparse.Namespace) -> list[Path]:
    """The engines, the first of which the report's ratios are against."""
    return [given.work / str(form) / str(precision) for form in FORMS for precision in PRECISIONS]


def compare(given: argparse.Namespace, run: Run) -> list[dict[str, Any]]:
    """Each engine's answers against ONNX Runtime's FP32: top-1 match and logit SQNR."""
    rows = []
    for bundle in bundles(given):
        words = ["evaluate", str(bundle), "--reference", str(given.work / REFERENCE), "--images", given.eval_images]
        value = run(words)
        keys = ("images", "top1", "reference_top1", "drop", "drop_ci95", "agreement", "logit_sqnr_db")
        rows.append({"bundle": str(bundle), **{key: value.get(key) for key in keys}})
    return rows


RATES = {"fp32": "fp32_tflops", "fp16": "fp16_tflops", "int8": "int8_tops"}


def summary(report: dict[str, Any], cost: dict[str, int] | None, card: dict[str, float] | None) -> list[dict[str, Any]]:
    """One row an engine and batch, as shares of the card's matrix rate in its precision and of its copies in."""
    rows = []
    for result in report["benchmark"]["results"]:
        timings = result.get("timings_ms") or {}
        row = {key: result.get(key) for key in ("bundle", "precision", "batch", "images_per_second", "timings_ms")}
        row.update(p50_ms=result["latency_ms"]["p50"], gpu_ms=timings.get("gpu_ms"))
        row.update(percent_of_matrix_rate=None, percent_of_host_to_device=None)
        if cost and card and (rate := card.get(RATES[result["precision"]])) and timings.get("gpu_ms"):
            operations = 2 * cost["macs"] * result["batch"]
            row["percent_of_matrix_rate"] = 100 * operations / (timings["gpu_ms"] / 1e3) / (rate * 1e12)
        if cost and card and timings.get("h2d_ms"):
            copied = 3 * cost["image_size"] ** 2 * result["batch"]  # uint8 pixels
            share = copied / (timings["h2d_ms"] / 1e3) / (card["host_to_device_gb_per_s"] * 1e9)
            row["percent_of_host_to_device"] = 100 * share
        rows.append(row)
    return rows


def to_markdown(value: dict[str, Any]) -> str:
    """The tables of ``gpu.json``."""
    gpu, lines = value["gpu"], [f"# {value['gpu']['name']}", ""]
    lines += [f"Compute capability {gpu['compute_capability']}, CUDA {gpu['cuda']}, {value['runtime']}.", ""]
    if value["card"]:
        lines += ["| limit of the card | measured |", "| --- | ---: |"]
        lines += [f"| {name} | {figure:.1f} |" for name, figure in value["card"].items()]
    else:
        lines.append(f"Not measured: the card's limits and PyTorch, because {value['reason']}.")
    lines += ["", "| runner | batch | p50, ms | on the GPU, ms | images/s | % of matrix rate | % of copy rate, in |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for row in [*value["engines"], *value["peers"]]:
        keys = ("gpu_ms", "percent_of_matrix_rate", "percent_of_host_to_device")
        gpu_ms, share, copies = (_number(row.get(key), digits) for key, digits in zip(keys, (3, 1, 1), strict=True))
        lines.append(
            f"| {row.get('bundle') or row['peer']} | {row['batch']} | {row['p50_ms']:.3f} | {gpu_ms} "
            f"| {row['images_per_second']:.1f} | {share} | {copies} |"
        )
    lines += ["", "PyTorch's rows have no copies and no softmax in them: compare those with the time on the GPU."]
    lines += [
        "",
        "| engine | images | top-1 match with ONNX Runtime, % | logit SQNR, dB |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['bundle']} | {row['images']} | {row['agreement']:.2f} | {_number(row['logit_sqnr_db'], 1)} |"
        for row in value["answers"]
    ]
    return "\n".join([*lines, ""])


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def main(arguments: Sequence[str] | None = None, run: Run = run_edge) -> int:
    """Export, build, compare, measure, write."""
    given = parse(arguments)
    if given.export_only is not None:
        for command in export_commands(given, given.export_only):
            run(command)
        print(f"wrote {given.export_only}: take it to the GPU, and give it as --exported", file=sys.stderr)
        return 0
    try:
        target, device = choose_target(), load_cuda().device()
    except ResnestEdgeError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    exported = given.exported or given.work / "exported"
    for command in [] if given.exported else export_commands(given, exported):
        run(command)
    for command in build_commands(given, target, exported):
        run(command)
    write_report(given, run, target, vars(device))
    return 0


def write_report(given: argparse.Namespace, run: Run, target: Target, gpu: dict[str, Any]) -> None:
    """Compare and measure the engines, PyTorch and the card, and write reports/gpu-NAME."""
    out = Path("reports") / f"gpu-{given.name}"
    answers = compare(given, run)
    batches = [word for size in given.batch for word in ("--batch", str(size))]
    run(["report", *map(str, bundles(given)), *batches, "--seconds", str(given.seconds), "--out", str(out), "--force"])
    torch = importlib.import_module("torch")
    usable = bool(torch.cuda.is_available())
    card = measure_card(torch, given.seconds) if usable else None
    peers, cost = (
        measure_peers(torch, given.variant, given.weights, given.batch, given.seconds) if usable else ([], None)
    )
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    value = {
        "gpu": gpu,
        "runtime": f"{target} {TensorRTBackend(target).version()}",
        "torch": str(torch.__version__),
        "card": card,
        "reason": None if usable else "this PyTorch has no CUDA",
        "engines": summary(report, cost, card),
        "peers": peers,
        "answers": answers,
    }
    write_atomically(out / "gpu.json", (json.dumps(value, indent=1) + "\n").encode())
    write_atomically(out / "gpu.md", to_markdown(value).encode())
    print(f"wrote {out}/gpu.md and {out}/report.md", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
