"""The frozen values that stages hand each other. No I/O, no vendor imports."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from resnest_edge.errors import InputError, UsageError
from resnest_edge.forms import Form as Form  # noqa: PLC0414 - a frozen value like those below, handed on with them

MOST_BATCH = 65_535
"""Images in one inference at most; also what a graph of any batch size is exported for."""

MOST_PIXELS = 16_384
"""Side of the largest square that a picture is resized to."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class _Word(str, Enum):
    """An enum whose members read as the word the user types."""

    def __str__(self) -> str:
        return str(self.value)


class Precision(_Word):
    """Number format of the typed graph's convolutions; ``INT8`` is explicit Q/DQ in the graph."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


class Target(_Word):
    """The runtime that an engine is built for."""

    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


class InputFormat(_Word):
    """What an engine takes: ``uint8-nhwc`` RGB frames, or ``float-nchw`` planar RGB in [0, 255]."""

    UINT8_NHWC = "uint8-nhwc"
    FLOAT_NCHW = "float-nchw"


class Interpolation(_Word):
    """Resampling filter of the resize (Pillow's antialiased filters)."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class ResizeMode(_Word):
    """How a picture of any shape becomes ``image_size`` × ``image_size`` pixels.

    ``SHORTER_SIDE``: shorter side to ``resize``, then the centre crop (torchvision's and timm's evaluation).
    ``CENTER_THEN_RESIZE``: crop the central square of ``image_size / resize`` of the shorter side, then resize
    it (the ResNeSt authors' evaluation, at every crop size).
    ``SQUASH``: resize to the square, ignoring the aspect ratio; ``resize`` equals ``image_size``.
    """

    SHORTER_SIDE = "shorter-side"
    CENTER_THEN_RESIZE = "center-then-resize"
    SQUASH = "squash"


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded picture becomes the network's input.

    Attributes:
        image_size: side of the square input, pixels.
        resize: side before the crop, pixels; see :class:`ResizeMode`.
        mode: how the square is taken.
        interpolation: resampling filter.
        mean: per channel, in the order of ``color``, for pixels scaled to [0, 1].
        std: likewise.
        color: ``rgb`` or ``bgr``: the channel order the *network* was trained on. Engines always take RGB.
    """

    image_size: int = 224
    resize: int = 256
    mode: ResizeMode = ResizeMode.SHORTER_SIDE
    interpolation: Interpolation = Interpolation.BILINEAR
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    color: str = "rgb"

    def __post_init__(self) -> None:
        if not 1 <= self.image_size <= self.resize <= MOST_PIXELS:
            raise UsageError(
                f"image size {self.image_size} and resize {self.resize} do not fit",
                hint=f"The resize side is at least the image size, and at most {MOST_PIXELS} pixels.",
            )
        if self.mode is ResizeMode.SQUASH and self.resize != self.image_size:
            raise UsageError(
                f"squashing to {self.image_size} cannot also resize to {self.resize}",
                hint="With squash the resize side is the image size.",
            )
        if self.color not in ("rgb", "bgr"):
            raise UsageError(f"color {self.color!r} is not known", hint="Use rgb or bgr.")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(0 < value < math.inf for value in self.std):
            raise UsageError("mean and std need three values each, and every std above zero")
        if not all(math.isfinite(value) for value in self.mean):
            raise UsageError("mean needs three finite values")

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return {**asdict(self), "mode": self.mode.value, "interpolation": self.interpolation.value}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Preprocessing:
        """Inverse of :meth:`to_json`.

        Raises:
            InputError: a key is missing or a value is out of range.
        """
        try:
            return cls(
                image_size=int(value["image_size"]),
                resize=int(value["resize"]),
                mode=ResizeMode(value["mode"]),
                interpolation=Interpolation(value["interpolation"]),
                mean=_triple(value["mean"]),
                std=_triple(value["std"]),
                color=str(value["color"]),
            )
        except (KeyError, ValueError, TypeError, OverflowError, UsageError) as exc:
            raise InputError(f"preprocessing cannot be read: {exc!r}") from exc


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(v) for v in values)
    return first, second, third


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of an engine; a dynamic dimension is its name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    layout: str = ""


@dataclass(frozen=True)
class BatchRange:
    """Batch sizes an engine accepts: ``minimum`` to ``maximum``, tuned for ``optimum``."""

    minimum: int
    optimum: int
    maximum: int

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum <= MOST_BATCH:
            raise UsageError(
                f"batch {self.minimum}:{self.optimum}:{self.maximum} is not a range",
                hint=f"Give N, or MIN:OPT:MAX with 1 <= MIN <= OPT <= MAX <= {MOST_BATCH}.",
            )

    @property
    def fixed(self) -> bool:
        """Whether only one batch size is accepted."""
        return self.minimum == self.maximum

    def __str__(self) -> str:
        return str(self.minimum) if self.fixed else f"{self.minimum}:{self.optimum}:{self.maximum}"

    @classmethod
    def parse(cls, text: str) -> BatchRange:
        """Read ``N`` or ``MIN:OPT:MAX``.

        Raises:
            UsageError: neither of the two.
        """
        parts = text.split(":")
        if len(parts) not in (1, 3) or not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
            raise UsageError(f"--batch {text[:40]!r} is not N or MIN:OPT:MAX", hint="For example 8, or 1:8:32.")
        numbers = [int(part) for part in parts]
        return cls(*(numbers * 3 if len(numbers) == 1 else numbers))


class QdqStyle(_Word):
    """How an INT8 graph writes its scales.

    ``portable``: int8, zero point 0 everywhere; every runtime takes it. ``cpu``: uint8 activations where a tensor
    is never negative (one bit more); OpenVINO and ONNX Runtime only.
    """

    PORTABLE = "portable"
    CPU = "cpu"


@dataclass(frozen=True)
class GraphInfo:
    """What a typed graph is, for the backend that builds it; saved in the bundle's manifest.

    Attributes:
        name: variant or model name.
        precision: what was asked for.
        float_type: number format of everything that is not INT8; equals ``precision`` unless that is INT8.
        style: Q/DQ style, for INT8 graphs.
        weight_bits: bits that INT8 weights use: 8, or 7 where a CPU without VNNI would saturate.
        input_format: what the graph's input ``images`` takes.
        batch: batch sizes the graph accepts; its batch dimension is fixed exactly when this is.
        image_size: side of the square input, pixels.
        num_classes: length of ``logits`` and ``probabilities``.
        form: inference form, for ResNeSt graphs.
    """

    name: str
    precision: Precision
    float_type: Precision
    style: QdqStyle | None
    weight_bits: int
    input_format: InputFormat
    batch: BatchRange
    image_size: int
    num_classes: int
    form: Form | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        value = {key: item.value if isinstance(item, Enum) else item for key, item in asdict(self).items()}
        return {**value, "batch": str(self.batch), "form": str(self.form) if self.form else None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> GraphInfo:
        """Inverse of :meth:`to_json`.

        Raises:
            InputError: a key is missing or a value is out of range.
        """
        try:
            return cls(
                name=str(value["name"]),
                precision=Precision(value["precision"]),
                float_type=Precision(value["float_type"]),
                style=QdqStyle(value["style"]) if value["style"] else None,
                weight_bits=int(value["weight_bits"]),
                input_format=InputFormat(value["input_format"]),
                batch=BatchRange.parse(str(value["batch"])),
                image_size=int(value["image_size"]),
                num_classes=int(value["num_classes"]),
                form=Form.parse(str(value["form"])) if value["form"] else None,
            )
        except (KeyError, ValueError, TypeError, OverflowError, UsageError) as exc:
            raise InputError(f"graph description cannot be read: {exc!r}") from exc
