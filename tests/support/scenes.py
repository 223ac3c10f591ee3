"""Demo scenes as files: what a user's image folder looks like."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from resnest_edge.demo.scenes import draw_scene


def write_scenes(folder: Path, split: str, count: int) -> Path:
    """Write the first ``count`` scenes as PNG files in one folder a digit."""
    for index in range(count):
        path = folder / str(index % 10) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_scene(split, index)).save(path)
    return folder
