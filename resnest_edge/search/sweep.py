"""A sweep: networks × sizes × forms × targets × precisions, one cell at a time, each a row that says what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from resnest_edge import environment
from resnest_edge.demo.model import NAME as DEMO
from resnest_edge.demo.model import demo_preprocessing
from resnest_edge.errors import UsageError
from resnest_edge.measure.latency import Plan
from resnest_edge.models.variants import find_variant
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.search.sweep_journal import Journal, SweepRow
from resnest_edge.spec import Form, Precision, Target

DEMO_IMAGES = "demo:train"
NO_WEIGHTS = "none"
_SCENES = (
    "INT8 is calibrated on the demo's scenes, because --weights none brings no images: speed does not depend on them, "
    "and accuracy would mean nothing"
)


@dataclass(frozen=True)
class Cell:
    """One engine to build and measure.

    Attributes:
        variant: a ResNeSt's name, or the demo model's.
        image_size: side of the input, pixels.
        form: inference form.
        target: runtime.
        precision: of the typed graph.
    """

    variant: str
    image_size: int
    form: Form
    target: Target
    precision: Precision

    @property
    def key(self) -> str:
        """What tells it from every other cell, fit for a folder."""
        form = str(self.form).replace("/", "-")
        return f"{self.variant}-{self.image_size}-{form}-{self.target}-{self.precision}"


@dataclass(frozen=True)
class Settings:
    """What all cells of a sweep share; values only, because cells may run in other processes and on other machines.

    Attributes:
        weights: a checkpoint, ``pretrained``, or ``none`` for random ones; None for the demo model's own.
        num_classes: of random weights.
        images: what calibrates INT8; None where nothing does.
        eval_images: labelled images that accuracy is measured on; None leaves accuracy out.
        calib_images: how many calibrate.
        seed: decides which.
        method: how ranges are chosen.
        plan: how speed is measured.
        engines: folder that engines are kept in; None throws them away when they have been measured.
    """

    weights: str | None
    num_classes: int | None
    images: str | None
    eval_images: str | None
    calib_images: int
    seed: int
    method: str
    plan: Plan
    engines: Path | None = None

    def identity(self) -> dict[str, Any]:
        """What rows must share to stand in one table; the folder of the engines is not of it."""
        value = {key: item for key, item in asdict(self).items() if key != "engines"}
        value["plan"] = {key: list(item) if isinstance(item, tuple) else item for key, item in value["plan"].items()}
        return value


Work = Callable[[Cell, Settings], SweepRow]
"""Makes a cell's row."""


class Runner(Protocol):
    """Runs cells somewhere."""

    def run(self, cells: Sequence[Cell], settings: Settings) -> Iterator[SweepRow]:
        """One row for each cell, as each is done, in whatever order."""
        ...


def make_cells(
    variants: Sequence[str],
    image_sizes: Sequence[int],
    forms: Sequence[Form],
    targets: Sequence[Target],
    precisions: Sequence[Precision],
) -> list[Cell]:
    """Every combination, the cells of one network after each other and FP32 first.

    Args:
        variants: names; none means the demo model.
        image_sizes: pixels; none means each variant's own.
        forms: inference forms.
        targets: runtimes.
        precisions: number formats.

    Raises:
        UsageError: an unknown variant, or anything named twice.
    """
    found = [find_variant(name) for name in variants]
    networks = [(variant.name, variant.image_size) for variant in found] or [(DEMO, demo_preprocessing().image_size)]
    given = {"--image-size": image_sizes, "--form": forms, "--target": targets, "--precision": precisions}
    for name, values in {"variant": [name for name, _ in networks], **given}.items():
        _refuse_repeats(name, values)
    ordered = sorted(precisions, key=list(Precision).index)
    return [
        Cell(name, size, form, target, precision)
        for name, own in networks
        for size, form, target, precision in product(image_sizes or [own], forms, targets, ordered)
    ]


def choose_images(
    variants: Sequence[str], weights: str | None, images: str | None, precisions: Sequence[Precision]
) -> tuple[str | None, list[str]]:
    """What calibrates INT8, and what to say of it.

    Raises:
        UsageError: weights that cannot be those of every network, or INT8 of real weights without images.
    """
    if variants and weights is None:
        raise UsageError("a sweep of networks needs --weights", hint="Random ones tell the speed: --weights none.")
    if weights is not None and not variants:
        raise UsageError("--weights are of a network", hint="Name the VARIANT they fit.")
    if len(variants) > 1 and weights not in ("pretrained", NO_WEIGHTS):
        raise UsageError("one checkpoint does not fit several networks", hint="Sweep one, or --weights none.")
    if images is not None or Precision.INT8 not in precisions:
        return images, []
    if not variants:
        return DEMO_IMAGES, []
    if weights != NO_WEIGHTS:
        raise UsageError("INT8 needs images to calibrate on", hint="Give --images DIR (labelled or not).")
    return DEMO_IMAGES, [_SCENES]


def _refuse_repeats(name: str, values: Sequence[Any]) -> None:
    if len(set(values)) < len(values):
        raise UsageError(f"{name} names something twice: {', '.join(map(str, values))}")


def sweep(
    cells: Sequence[Cell],
    settings: Settings,
    journal: Journal,
    runner: Runner,
    *,
    retry_failed: bool = False,
    found: Callable[[SweepRow], None] | None = None,
    progress: Progress = silent,
) -> list[SweepRow]:
    """Run every cell that the journal does not hold yet, and keep each row as soon as it is there.

    Args:
        cells: what to run.
        settings: what they share.
        journal: rows of an earlier run, and where new ones are kept.
        runner: where cells run.
        retry_failed: run again what failed before.
        found: told of each new row.
        progress: told of how many cells are done.

    Returns:
        The rows of these cells, in their order.
    """
    wanted = {cell.key for cell in cells}
    done = {key for key, row in journal.rows.items() if key in wanted and not (retry_failed and row.failed)}
    rest = [cell for cell in cells if cell.key not in done]
    progress("sweep", len(cells) - len(rest), len(cells))
    for count, row in enumerate(runner.run(rest, settings) if rest else (), start=len(cells) - len(rest) + 1):
        journal.add(row)
        if found is not None:
            found(row)
        progress("sweep", count, len(cells))
    return [journal.rows[cell.key] for cell in cells]


def identity(settings: Settings, *, cluster: bool) -> dict[str, Any]:
    """What a journal belongs to: settings, versions, and the machine where all cells ran on one."""
    value = {**settings.identity(), "versions": environment.tool_versions(), "cluster": cluster}
    if cluster:
        return value
    told = environment.describe()
    return {**value, "machine": {name: told[name] for name in ("cpu", "cores", "architecture")}}
