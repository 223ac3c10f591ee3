"""What right and wrong calibration images leave in a network, and which of them are told.

    python -m benchmarks.signs                                       # the demo model on its own scenes
    python -m benchmarks.signs resnest50 --weights W --image-size 160 --resize squash --interpolation bicubic \
        --images train/ --out reports/signs/resnest50

The thresholds of `calibration.moments` and `calibration.channel_order` stand between the rows that are right and those
that are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.quantizer_report import arguments, image_source, prepare, table, write
from resnest_edge.calibration.moments import OTHER_IMAGES, mean_shift
from resnest_edge.images import ImageSet, sample
from resnest_edge.pipeline.pictures import open_pictures
from resnest_edge.pipeline.training_images import look_at
from resnest_edge.pipeline.typed import Network

_Pixels = npt.NDArray[np.uint8]
_COLUMNS = (
    "images",
    "count",
    "mean shift",
    "red − blue",
    "swapped",
    "training",
    "told",
)
CHANGES: dict[str, Callable[[_Pixels], Any]] = {
    "right": lambda pixels: pixels,
    "red and blue swapped": lambda pixels: pixels[..., ::-1],
    "warm: blue × 0.75": lambda pixels: pixels * (1, 1, 0.75),
    "cool: red × 0.9": lambda pixels: pixels * (0.9, 1, 1),
    "cooler: red × 0.8": lambda pixels: pixels * (0.8, 1, 1),
    "grey": lambda pixels: np.repeat(pixels.mean(2, keepdims=True), 3, 2),
    "a third as bright": lambda pixels: pixels // 3,
    "100 brighter": lambda pixels: np.minimum(pixels.astype(int) + 100, 255),
    "inverted": lambda pixels: 255 - pixels,
    "black": np.zeros_like,
    "noise": lambda pixels: np.random.default_rng(int(pixels.sum())).integers(0, 256, pixels.shape),
}
DRAWN = (32, 64, 128, 256, 512)
NORMALISATIONS = {"mean 0, std 1": (0.0, 1.0), "mean 0.5, std 0.5": (0.5, 0.5)}


class Changed:
    """An image set with something done to its pixels."""

    def __init__(self, images: ImageSet, change: Callable[[_Pixels], Any]) -> None:
        self._images, self._change = images, change
        self.class_names, self.source = images.class_names, images.source

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """As the set's."""
        return self._images.name(index)

    def label(self, index: int) -> int | None:
        """As the set's."""
        return self._images.label(index)

    def load(self, index: int) -> _Pixels:
        """Decode, and change."""
        return np.ascontiguousarray(self._change(self._images.load(index)), np.uint8)

    def digest(self, index: int) -> str:
        """As the set's."""
        return self._images.digest(index)


def main() -> None:
    """Measure, print and write the table."""
    parser = arguments(__doc__ or "", "reports/signs/demo")
    parser.add_argument(
        "--count", type=int, default=512, help="images of each kind; 32 of them are run. Right ones also 10"
    )
    parser.add_argument("--draws", type=int, default=0, help="draws of each number of images, right and swapped")
    given = parser.parse_args()
    network, pictures = prepare(given)
    assert pictures.calibration is not None
    few = [sample(pictures.calibration, 10, seed) for seed in (1, 2, 3)]
    images = sample(pictures.calibration, given.count, 0)
    rows = [_row("right", network, drawn) for drawn in few]
    rows += [_row(name, network, Changed(images, change)) for name, change in CHANGES.items()]
    for name, (mean, std) in NORMALISATIONS.items():
        wrong = replace(network.preprocessing, mean=(mean,) * 3, std=(std,) * 3)
        rows.append(_row(name, replace(network, preprocessing=wrong), images))
    draws = _draws(network, open_pictures(image_source(given), network.num_classes), given.draws) if given.draws else []
    about = {"draws": draws, "model": network.name, "count": given.count, "other_images": OTHER_IMAGES}
    text = _render(about, rows)
    write(given.out, "signs", about, rows, text)
    print(text)


def _draws(network: Network, images: ImageSet, draws: int) -> list[dict[str, int]]:
    """How many draws of each number of images are told as swapped, in the right order and in the wrong one."""
    rows = []
    for count in DRAWN:
        drawn = [sample(images, count, seed) for seed in range(draws)]
        right, swapped = (
            sum(_told_as_swapped(network, Changed(one, CHANGES[name])) for one in drawn)
            for name in ("right", "red and blue swapped")
        )
        rows.append({"images": count, "draws": draws, "right": right, "swapped": swapped})
    return rows


def _told_as_swapped(network: Network, images: ImageSet) -> bool:
    found = look_at(network, images, skip_bad=False)
    return found is not None and any("seem to be swapped" in sign for sign in found.signs)


def _row(name: str, network: Network, images: ImageSet) -> dict[str, Any]:
    found = look_at(network, images, skip_bad=False)
    if found is None:
        raise SystemExit("this network's batch norms remember nothing")
    casts = [float(found.casts.given.mean()), float(found.casts.swapped.mean()), found.expected_cast]
    return {
        "images": name,
        "count": len(images),
        "mean_shift": mean_shift(found.seen, found.remembered),
        "red_minus_blue": casts,
        "told": found.signs,
    }


def _line(row: dict[str, Any]) -> str:
    told = "; ".join(sign.partition(":")[0] for sign in row["told"]) or "nothing"
    casts = " | ".join("–" if cast is None else f"{cast:+.2f}" for cast in row["red_minus_blue"])
    return f"| {row['images']} | {row['count']} | {row['mean_shift']:.3f} | {casts} | {told} |"


def _render(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    return (
        f"# {about['model']}: right and wrong calibration images\n\n"
        "Shift: how far the channels of a layer are from the mean that batch norm remembers, in remembered deviations, "
        f"the median of its channels, averaged over layers; above {about['other_images']:g} the images are told to be "
        "others; at most 32 of the images are run. Red − blue: how far the first channel's mean exceeds the last's, "
        "normalised, in all pictures as they are, swapped, and as the first layer remembers of those of the "
        "training.\n\n" + table(_COLUMNS, map(_line, rows)) + _drawn_table(about["draws"])
    )


def _drawn_table(draws: list[dict[str, int]]) -> str:
    if not draws:
        return ""
    columns = ("images", "draws", "right, told as swapped", "swapped, told as swapped")
    lines = (f"| {row['images']} | {row['draws']} | {row['right']} | {row['swapped']} |" for row in draws)
    return "\nDraws of different images:\n\n" + table(columns, lines)


if __name__ == "__main__":
    main()
