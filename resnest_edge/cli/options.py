"""The options that several commands share, with one wording each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from resnest_edge.errors import UsageError
from resnest_edge.spec import Form, InputFormat, Interpolation, Precision, Target

# Every number has an end: beyond it lies a slip of the finger, which would otherwise fail late and in other words.
MOST_CLASSES = 1_000_000
MOST_IMAGES = 100_000_000
LARGEST_SIDE = 4096

IMAGES = "Preprocessing"
QUANTIZING = "Calibration"
ENGINE = "Engine"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what stands at --out already.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where to write; engines/NAME if not given.")]
Trust = Annotated[
    Path | None,
    typer.Option("--trust", metavar="PUBLIC_KEY", help="Refuse a bundle that the holder of this key did not sign."),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave damaged images out and name them, instead of failing.")
]
Cache = Annotated[
    bool,
    typer.Option("--cache/--no-cache", help="Reuse what earlier builds exported and calibrated; see `cache`."),
]
What = Annotated[
    str | None,
    typer.Argument(metavar="VARIANT|ONNX|BUNDLE", help="What to build; the embedded demo model if not given."),
]
Network = Annotated[
    str | None,
    typer.Argument(metavar="VARIANT|ONNX", help="The network; the embedded demo model if not given."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights", metavar="PATH|pretrained|none", help="A checkpoint, the published weights, or random ones."
    ),
]
NumClasses = Annotated[
    int | None,
    typer.Option(
        "--num-classes", min=1, max=MOST_CLASSES, help="Classes, for random weights; else read from the checkpoint."
    ),
]
Precisions = Annotated[
    list[Precision] | None,
    typer.Option("--precision", help="Number format; may be given several times. (default: int8)"),
]
Targets = Annotated[
    list[Target] | None,
    typer.Option(
        "--target",
        help="Runtime; may be given several times. (default: openvino where it is installed, else onnxruntime)",
    ),
]
FORMS = "split|split-dense|grouped|dense"


def complete_form(incomplete: str) -> list[str]:
    """The forms of all stages alike that begin so, for a shell."""
    return [word for word in FORMS.split("|") if word.startswith(incomplete)]


FormChoice = Annotated[
    Form | None,
    typer.Option(
        "--form",
        parser=Form.parse,
        autocompletion=complete_form,
        metavar=FORMS,
        help="Inference form of split-attention blocks: one, or one for each stage, joined by '/'; +early-pool behind "
        "it pools before the gate. (default: split)",
        rich_help_panel=ENGINE,
    ),
]
Tuned = Annotated[
    bool,
    typer.Option(
        "--tuned",
        help="Take the form that `tune` measured to be fastest here, else that of the shipped table, and say which.",
        rich_help_panel=ENGINE,
    ),
]
Batch = Annotated[
    str | None,
    typer.Option(
        "--batch",
        metavar="N|MIN:OPT:MAX",
        help="Batch sizes the engine takes. (default: 1:1:64)",
        rich_help_panel=ENGINE,
    ),
]
Format = Annotated[
    InputFormat, typer.Option("--input-format", help="What the engine takes as images.", rich_help_panel=ENGINE)
]
Images = Annotated[
    str | None, typer.Option("--images", metavar="DIR|LIST", help="Images to calibrate on.", rich_help_panel=QUANTIZING)
]
EvalImages = Annotated[
    str | None,
    typer.Option(
        "--eval-images",
        metavar="DIR|LIST",
        help="Labelled images to measure on; else those of --images that calibration did not use.",
    ),
]
CalibImages = Annotated[
    int,
    typer.Option(
        "--calib-images",
        min=1,
        max=MOST_IMAGES,
        help="Images drawn for calibration, balanced over classes.",
        rich_help_panel=QUANTIZING,
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, max=2**32 - 1, help="Decides which images are drawn.", rich_help_panel=QUANTIZING),
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="max|percentile|entropy|mse|auto",
        help="How ranges are chosen; auto: for each tensor the one whose layers err least on calibration images.",
        rich_help_panel=QUANTIZING,
    ),
]
BiasCorrection = Annotated[
    bool,
    typer.Option(
        "--bias-correction/--no-bias-correction",
        help="Take each layer's mean error on the calibration images out of its bias.",
        rich_help_panel=QUANTIZING,
    ),
]
RoundWeights = Annotated[
    bool,
    typer.Option(
        "--round-weights/--no-round-weights",
        help="Round each layer's weights by their effect on its output (GPTQ), not each to its nearest integer.",
        rich_help_panel=QUANTIZING,
    ),
]
WeightScales = Annotated[
    str,
    typer.Option(
        "--weight-scales",
        metavar="max|mse",
        help="Scale of each output channel's weights: by the largest, or of least squared error.",
        rich_help_panel=QUANTIZING,
    ),
]
Equalize = Annotated[
    bool,
    typer.Option(
        "--equalize/--no-equalize",
        help="Even out channel ranges where convolutions meet across a ReLU; exact in float.",
        rich_help_panel=QUANTIZING,
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        "--max-drop",
        metavar="POINTS",
        min=0.0,
        max=100.0,
        help="Largest drop in top-1 of an INT8 engine: layers go back to float until it holds; exit 1 if it cannot.",
        rich_help_panel=QUANTIZING,
    ),
]
Confident = Annotated[
    bool,
    typer.Option(
        "--confident",
        help="Hold the upper end of the drop's 95 % interval to --max-drop, not the drop itself.",
        rich_help_panel=QUANTIZING,
    ),
]
ScalesFile = Annotated[
    Path | None,
    typer.Option(
        "--scales", metavar="FILE", help="Ranges that `calibrate` saved, instead of images.", rich_help_panel=QUANTIZING
    ),
]
WeightBits = Annotated[
    int | None,
    typer.Option(
        "--weight-bits",
        min=7,
        max=8,
        help="Width of INT8 weights. (default: 8, or 7 on an x86 CPU without VNNI)",
        rich_help_panel=QUANTIZING,
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option("--image-size", min=32, max=LARGEST_SIDE, help="Side of the input, pixels.", rich_help_panel=IMAGES),
]
Resize = Annotated[
    str | None,
    typer.Option(
        "--resize", metavar="N|squash", help="Shorter side before the crop, or no crop at all.", rich_help_panel=IMAGES
    ),
]
Filter = Annotated[
    Interpolation | None, typer.Option("--interpolation", help="Resampling filter.", rich_help_panel=IMAGES)
]
Mean = Annotated[
    str | None,
    typer.Option("--mean", metavar="R,G,B", help="Per channel, of pixels in [0, 1].", rich_help_panel=IMAGES),
]
Std = Annotated[
    str | None, typer.Option("--std", metavar="R,G,B", help="Per channel, of pixels in [0, 1].", rich_help_panel=IMAGES)
]
Color = Annotated[
    str | None,
    typer.Option("--color", metavar="rgb|bgr", help="Channel order the network expects.", rich_help_panel=IMAGES),
]
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?")


def triple(option: str, text: str | None) -> tuple[float, float, float] | None:
    """Read three comma-separated numbers.

    Raises:
        UsageError: it is something else.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise UsageError(f"{option} {text[:40]!r} is not three numbers", hint="For example 0.485,0.456,0.406.")
    first, second, third = (float(part) for part in parts)
    return first, second, third
