"""What `benchmarks.gpu` puts beside the engines: PyTorch on the same GPU, and the most that the card does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from resnest_edge.models.config import cost_of

MATRIX_SIDE = 8192
COPY_MIB = 1024


def median_seconds(work: Callable[[], object], wait: Callable[[], object], seconds: float) -> float:
    """Median duration of one piece of work, after three that are not counted: compiling, capturing, replaying."""
    for _ in range(3):
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


def measure_card(torch: Any, seconds: float) -> dict[str, float]:
    """What the card does at best: matrix products, and copies within its memory and to and from the host."""
    wait, side = torch.cuda.synchronize, MATRIX_SIDE
    rates = {}
    for name, dtype in (("fp32_tflops", torch.float32), ("fp16_tflops", torch.float16)):  # FP32 without TF32
        left, right = (torch.randn(side, side, device="cuda", dtype=dtype) for _ in range(2))
        rates[name] = matrix_rate(lambda: left @ right, wait, seconds)  # noqa: B023  # called at once
    if hasattr(torch, "_int_mm"):  # PyTorch's only product of int8 matrices
        whole = [torch.randint(-128, 128, (side, side), device="cuda", dtype=torch.int8) for _ in range(2)]
        rates["int8_tops"] = matrix_rate(lambda: torch._int_mm(whole[0], whole[1].t()), wait, seconds)
    source = torch.empty(COPY_MIB << 20, device="cuda", dtype=torch.uint8)
    other, host = torch.empty_like(source), torch.empty(COPY_MIB << 20, dtype=torch.uint8, pin_memory=True)
    gigabytes = source.numel() / 1e9
    return {
        **rates,
        "memory_gb_per_s": 2 * gigabytes / median_seconds(lambda: other.copy_(source), wait, seconds),
        "host_to_device_gb_per_s": gigabytes / median_seconds(lambda: source.copy_(host), wait, seconds),
        "device_to_host_gb_per_s": gigabytes / median_seconds(lambda: host.copy_(source), wait, seconds),
    }


def matrix_rate(product: Callable[[], object], wait: Callable[[], object], seconds: float) -> float:
    """10¹² operations a second of one product of square matrices; a multiplication and an addition are two."""
    return 2 * MATRIX_SIDE**3 / median_seconds(product, wait, seconds) / 1e12


def measure_peers(
    torch: Any, variant: str | None, weights: str | None, batches: Sequence[int], seconds: float, device: str = "cuda"
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """PyTorch in FP16, eager and compiled with CUDA graphs for each batch size, on images that lie on the device.

    Args:
        torch: the module.
        variant: None is the demo model.
        weights: of the variant.
        batches: images per inference.
        seconds: spent on each figure.
        device: a CPU's figures mean nothing, but show that this works.

    Returns:
        One row a peer and batch; and the network's ``macs`` for an image of ``image_size`` pixels a side.
    """
    from resnest_edge.demo.model import demo_preprocessing, weights_path
    from resnest_edge.pipeline.networks import open_network
    from resnest_edge.pipeline.progress import silent

    found = open_network(variant, weights or str(weights_path()), None, silent)
    network: Any = found.load()
    side = (found.preprocessing if variant else demo_preprocessing()).image_size
    cost = {"macs": cost_of(network.config, side, found.num_classes).macs, "image_size": side}
    network = network.to(device, torch.float16, memory_format=torch.channels_last)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    compiled = torch.compile(network, mode="reduce-overhead", dynamic=False)
    rows = []
    for name, runner in (("torch FP16", network), ("torch.compile FP16", compiled)):
        for batch in batches:
            images = torch.randn(batch, 3, side, side, device=device, dtype=torch.float16)
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                taken = median_seconds(lambda: runner(images), wait, seconds)  # noqa: B023  # called at once
            rows.append({"peer": name, "batch": batch, "p50_ms": 1000 * taken, "images_per_second": batch / taken})
    return rows, cost
