"""A network on this machine's GPU in every form and precision, beside PyTorch on the same GPU and the card's limits.

    python benchmarks/gpu.py --name h200 --variant resnest50 --weights W.safetensors --images train/ --eval-images val/

Without a variant it takes the embedded demo model and its images. It builds with TensorRT, or with TensorRT for RTX,
compares every engine's answers with ONNX Runtime's, measures all engines interleaved, and writes reports/gpu-NAME/:
`report.json`, `report.md` and `index.html` of the engines, `gpu.json` and `gpu.md` of what stands beside them.

It was written on a machine without a GPU and has run on none so far.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from resnest_edge.backends.cuda import load_cuda
from resnest_edge.backends.tensorrt import TensorRTBackend
from resnest_edge.errors import ResnestEdgeError, UnavailableError
from resnest_edge.files import write_atomically
from resnest_edge.models.config import cost_of
from resnest_edge.spec import Form, Precision, Target

EDGE = [sys.executable, "-m", "resnest_edge"]
PRECISIONS = (Precision.FP32, Precision.FP16, Precision.INT8)
MATRIX_SIDE = 8192
COPY_MIB = 1024
Run = Callable[[Sequence[str]], Any]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--name", required=True, help="of the card: the report goes to reports/gpu-NAME")
    parser.add_argument("--variant", help="such as resnest50; the embedded demo model if not given")
    parser.add_argument("--weights", help="a checkpoint, pretrained, or none (random)")
    parser.add_argument("--images", help="to calibrate on")
    parser.add_argument("--eval-images", default="demo:test", help="labelled, to compare answers on")
    parser.add_argument("--batch", type=int, action="append", help="may be repeated (default: 1, 8, 32)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one slice of a measurement")
    parser.add_argument("--work", type=Path, default=Path("engines/gpu"), help="where engines are built")
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


def build_commands(given: argparse.Namespace, target: Target) -> list[list[str]]:
    """What is built: ONNX Runtime's FP32 to compare with, then every form in every precision."""
    model = [given.variant] if given.variant else []
    for option in ("weights", "images"):
        if (value := getattr(given, option)) is not None:
            model += [f"--{option}", value]
    low, high = min(given.batch), max(given.batch)
    best = next(size for size in sorted(given.batch) if size >= high / 4)
    batch = ["--batch", f"{low}:{best}:{high}"] if low < high else ["--batch", str(low)]
    precisions = [word for precision in PRECISIONS for word in ("--precision", str(precision))]
    gpus = ["--compute-capability", "current"] if target is Target.TENSORRT_RTX else []
    reference = [*model, "--target", "onnxruntime", "--precision", "fp32", "--out", str(given.work / "ort")]
    engines = ["--target", str(target), *precisions, *batch, *gpus]
    builds = [[*model, "--form", str(form), *engines, "--out", str(given.work / form)] for form in Form]
    return [["build", *command, "--force"] for command in (reference, *builds)]


def bundles(given: argparse.Namespace) -> list[Path]:
    """The engines, the first of which the report's ratios are against."""
    return [given.work / form / str(precision) for form in Form for precision in PRECISIONS]


def compare(given: argparse.Namespace, run: Run) -> list[dict[str, Any]]:
    """Each engine's answers against ONNX Runtime's FP32: top-1 match and logit SQNR."""
    rows = []
    for bundle in bundles(given):
        words = ["evaluate", str(bundle), "--reference", str(given.work / "ort"), "--images", given.eval_images]
        value = run(words)
        keys = ("images", "top1", "reference_top1", "drop", "drop_ci95", "agreement", "logit_sqnr_db")
        rows.append({"bundle": str(bundle), **{key: value.get(key) for key in keys}})
    return rows


def median_seconds(work: Callable[[], object], wait: Callable[[], object], seconds: float) -> float:
    """Median duration of one piece of work, after two that are not counted."""
    for _ in range(2):
        work()
    wait()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 5:
        start = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - start)
    return median(taken)


def measure_card(torch: Any, seconds: float) -> dict[str, Any]:
    """What the card does at best: FP16 matrix products, and copies within its memory and to and from the host."""
    wait, side = torch.cuda.synchronize, MATRIX_SIDE
    left, right = (torch.randn(side, side, device="cuda", dtype=torch.float16) for _ in range(2))
    product = median_seconds(lambda: left @ right, wait, seconds)
    source = torch.empty(COPY_MIB << 20, device="cuda", dtype=torch.uint8)
    other, host = torch.empty_like(source), torch.empty(COPY_MIB << 20, dtype=torch.uint8, pin_memory=True)
    gigabytes = source.numel() / 1e9
    return {
        "fp16_tflops": 2 * side**3 / product / 1e12,
        "memory_gb_per_s": 2 * gigabytes / median_seconds(lambda: other.copy_(source), wait, seconds),
        "host_to_device_gb_per_s": gigabytes / median_seconds(lambda: source.copy_(host), wait, seconds),
        "device_to_host_gb_per_s": gigabytes / median_seconds(lambda: host.copy_(source), wait, seconds),
    }


def measure_peers(torch: Any, given: argparse.Namespace, device: str = "cuda") -> tuple[list[dict[str, Any]], int]:
    """PyTorch in FP16, eager and compiled, on images that lie on the device; and the network's products per image."""
    from resnest_edge.demo.model import weights_path
    from resnest_edge.pipeline.networks import open_network
    from resnest_edge.pipeline.progress import silent

    found = open_network(given.variant, given.weights or str(weights_path()), None, silent)
    network: Any = found.load()
    macs = cost_of(network.config, found.preprocessing.image_size, found.num_classes).macs
    network = network.to(device, torch.float16, memory_format=torch.channels_last)
    side = found.preprocessing.image_size
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    rows = []
    for name, runner in (("torch FP16", network), ("torch.compile FP16", torch.compile(network))):
        for batch in given.batch:
            images = torch.randn(batch, 3, side, side, device=device, dtype=torch.float16)
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                taken = median_seconds(lambda: runner(images), wait, given.seconds)  # noqa: B023  # called at once
            rows.append({"peer": name, "batch": batch, "p50_ms": 1000 * taken, "images_per_second": batch / taken})
    return rows, macs


def summary(report: dict[str, Any], macs: int | None, card: dict[str, Any] | None) -> list[dict[str, Any]]:
    """One row an engine and batch, with its share of the card's FP16 matrix rate where both are known."""
    rows = []
    for result in report["benchmark"]["results"]:
        speed = result["images_per_second"]
        share = 100 * 2 * macs * speed / (card["fp16_tflops"] * 1e12) if macs and card else None
        keys = ("bundle", "precision", "batch", "images_per_second", "timings_ms")
        p50 = result["latency_ms"]["p50"]
        rows.append({**{key: result.get(key) for key in keys}, "p50_ms": p50, "percent_of_fp16_rate": share})
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
    lines += ["", "| runner | batch | p50, ms | images/s | % of FP16 rate |", "| --- | ---: | ---: | ---: | ---: |"]
    for row in [*value["engines"], *value["peers"]]:
        share = row.get("percent_of_fp16_rate")
        shown = "–" if share is None else f"{share:.1f}"
        name = row.get("bundle") or row["peer"]
        lines.append(f"| {name} | {row['batch']} | {row['p50_ms']:.3f} | {row['images_per_second']:.1f} | {shown} |")
    lines += [
        "",
        "| engine | images | top-1 match with ONNX Runtime, % | logit SQNR, dB |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['bundle']} | {row['images']} | {row['agreement']:.2f} | {row['logit_sqnr_db']:.1f} |"
        for row in value["answers"]
    ]
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None, run: Run = run_edge) -> int:
    """Build, compare, measure, write."""
    given = parse(arguments)
    try:
        target, device = choose_target(), load_cuda().device()
    except ResnestEdgeError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    out = Path("reports") / f"gpu-{given.name}"
    for command in build_commands(given, target):
        run(command)
    answers = compare(given, run)
    batches = [word for size in given.batch for word in ("--batch", str(size))]
    run(["report", *map(str, bundles(given)), *batches, "--seconds", str(given.seconds), "--out", str(out), "--force"])
    torch = importlib.import_module("torch")
    usable = bool(torch.cuda.is_available())
    card = measure_card(torch, given.seconds) if usable else None
    peers, macs = measure_peers(torch, given) if usable else ([], None)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    value = {
        "gpu": vars(device),
        "runtime": f"{target} {TensorRTBackend(target).version()}",
        "torch": str(torch.__version__),
        "card": card,
        "reason": None if usable else "this PyTorch has no CUDA",
        "engines": summary(report, macs, card),
        "peers": peers,
        "answers": answers,
    }
    write_atomically(out / "gpu.json", (json.dumps(value, indent=1) + "\n").encode())
    write_atomically(out / "gpu.md", to_markdown(value).encode())
    print(f"wrote {out}/gpu.md and {out}/report.md", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
