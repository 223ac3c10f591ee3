"""Train the embedded demo model, and its siblings of the other block kinds, from nothing on the demo scenes.

    python scripts/train_demo.py                        # resnest_edge/demo/resnest-demo.safetensors
    python scripts/train_demo.py --kind radix4 --out tests/data

Takes no data but the package's own digits. Prints top-1 on the test scenes with its 95 % interval; weights of more than
one dimension are stored in float16, and that is what is measured.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from resnest_edge.demo.model import demo_preprocessing
from resnest_edge.demo.scenes import draw_scene
from resnest_edge.files import write_atomically
from resnest_edge.images import normalise, transform
from resnest_edge.measure.statistics import wilson
from resnest_edge.models.config import ResNeStConfig
from resnest_edge.models.resnest import ResNeSt
from resnest_edge.pipeline.pictures import DEMO_SCENES

_PLANES = (16, 32, 64, 128)
KINDS = {
    "demo": ResNeStConfig((1, 1, 1, 1), radix=2, cardinality=1, stem_width=16, planes=_PLANES),
    "radix1": ResNeStConfig(
        (1, 1, 1, 1), radix=1, cardinality=4, bottleneck_width=24, stem_width=16, avd_first=True, planes=_PLANES
    ),
    "radix4": ResNeStConfig((1, 1, 1, 1), radix=4, cardinality=1, stem_width=16, avd_first=True, planes=_PLANES),
    "cardinality2": ResNeStConfig(
        (1, 1, 1, 1), radix=2, cardinality=2, bottleneck_width=40, stem_width=16, avd_first=True, planes=_PLANES
    ),
}
_HELD_OUT = 4000
"""The first train scenes are kept for calibration; training draws the ones after them."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; everything that decides the result."""

    kind: str
    scenes: int
    epochs: int
    seed: int
    batch: int = 128
    rate: float = 4e-3
    decay: float = 0.05
    smoothing: float = 0.1
    small_side: int = 64
    large_epochs: int = 4


def main() -> None:
    """Parse, train, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=sorted(KINDS), default="demo")
    parser.add_argument("--out", type=Path, default=Path("resnest_edge/demo"))
    parser.add_argument("--scenes", type=int, default=20000)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe = Recipe(given.kind, given.scenes, given.epochs, given.seed)
    started = perf_counter()
    network = train(recipe, draw("train", range(_HELD_OUT, _HELD_OUT + recipe.scenes), given.threads))
    halve_weights(network)
    test = draw("test", range(DEMO_SCENES["demo:test"]), given.threads)
    right = int((predict(network, test) == np.arange(len(test)) % 10).sum())
    low, high = wilson(right, len(test))
    measured = {"top1": 100.0 * right / len(test), "top1_ci95": [low, high], "test_scenes": len(test)}
    print(f"top-1 {measured['top1']:.2f} % [{low:.2f}, {high:.2f}] on {len(test)} test scenes")
    minutes = (perf_counter() - started) / 60
    print(f"{minutes:.1f} minutes on {given.threads} threads")
    name = "resnest-demo" if recipe.kind == "demo" else f"resnest-{recipe.kind}"
    save_network(network, recipe, measured, given.out / name)


def draw(split: str, indices: range, workers: int) -> np.ndarray:
    """Draw scenes in parallel: (N, 112, 112, 3) uint8."""
    with ProcessPoolExecutor(workers) as pool:
        scenes = pool.map(draw_scene, [split] * len(indices), indices, chunksize=64)
        return np.stack(list(scenes))


def train(recipe: Recipe, scenes: np.ndarray) -> ResNeSt:
    """AdamW, one cycle, label smoothing; random crops; most epochs on smaller pictures, the last at full size."""
    torch.manual_seed(recipe.seed)
    network = ResNeSt(KINDS[recipe.kind], 10)
    pictures, labels = torch.from_numpy(scenes).permute(0, 3, 1, 2), (torch.arange(len(scenes)) + _HELD_OUT) % 10
    steps = len(scenes) // recipe.batch
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps * recipe.epochs)
    for epoch in range(recipe.epochs):
        network.train()
        large = epoch >= recipe.epochs - recipe.large_epochs
        total = 0.0
        for chosen in torch.randperm(len(scenes))[: steps * recipe.batch].view(steps, recipe.batch):
            images = augment(pictures[chosen], None if large else recipe.small_side)
            loss = F.cross_entropy(network(images), labels[chosen], label_smoothing=recipe.smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1}/{recipe.epochs}: loss {total / steps:.3f}", flush=True)
    return network.eval()


def augment(pictures: Tensor, side: int | None) -> Tensor:
    """One random crop for the batch, normalised as the demo's preprocessing does, and made smaller for quick epochs."""
    preprocessing = demo_preprocessing()
    room = pictures.shape[-1] - preprocessing.image_size
    top, left = (int(torch.randint(0, room + 1, ())) for _ in range(2))
    crop = pictures[:, :, top : top + preprocessing.image_size, left : left + preprocessing.image_size].float() / 255.0
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std))
    images = (crop - mean) / std
    if side is None:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def predict(network: nn.Module, scenes: np.ndarray) -> np.ndarray:
    """Class of each scene, through the package's own preprocessing."""
    preprocessing = demo_preprocessing()
    pixels = np.stack([transform(scene, preprocessing) for scene in scenes])
    answers = []
    with torch.inference_mode():
        for start in range(0, len(pixels), 200):
            images = torch.from_numpy(normalise(pixels[start : start + 200], preprocessing))
            answers.append(network(images).argmax(1).numpy())
    return np.concatenate(answers)


def halve_weights(network: nn.Module) -> None:
    """Round the weights that are stored in float16, so that what is measured is what is shipped."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.copy_(parameter.half().float())


def save_network(network: nn.Module, recipe: Recipe, measured: dict[str, object], path: Path) -> None:
    """Write weights and, beside them, how they came to be."""
    state = {
        name: (tensor.half() if tensor.dim() > 1 else tensor).contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    facts = {"recipe": asdict(recipe), "measured": measured, "torch": str(torch.__version__)}
    write_atomically(path.with_suffix(".safetensors"), save(state, {"format": "pt"}))
    write_atomically(path.with_suffix(".json"), (json.dumps(facts, indent=1) + "\n").encode())
    print(f"{path.with_suffix('.safetensors')}: {path.with_suffix('.safetensors').stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
