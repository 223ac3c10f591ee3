"""The 8-bit grid of one activation tensor: the value calibration chooses and quantization writes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resnest_edge.spec import QdqStyle

SMALLEST_SCALE = 2.0**-14
"""Scales stay at or above FP16's smallest normal number, so that one scale is exact in every typed graph."""

_CHUNK = 1 << 15  # values: input and output stay in a core's own cache


@dataclass(frozen=True)
class Grid:
    """``real = scale · (q − zero_point)`` for integers q in [qmin, qmax] (ONNX QuantizeLinear).

    Attributes:
        scale: step between neighbouring values, above zero.
        zero_point: the integer that stands for 0.0.
        qmin: smallest integer: −128 or 0.
        qmax: largest integer: 127 or 255.
    """

    scale: float
    zero_point: int
    qmin: int
    qmax: int

    @property
    def unsigned(self) -> bool:
        """Whether the integers are uint8 rather than int8."""
        return self.qmin == 0

    @classmethod
    def covering(cls, low: float, high: float, style: QdqStyle) -> Grid:
        """The grid of one tensor whose values are kept between ``low`` and ``high``.

        ``portable``: int8, zero point 0, ±max(|low|, |high|) at ±127. ``cpu``: uint8; zero point 0 when ``low`` is not
        negative, else the zero point that puts ``low`` at 0 and ``high`` at 255. Zero is always exactly on the grid.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        if style is QdqStyle.PORTABLE:
            return cls(max(max(-low, high) / 127.0, SMALLEST_SCALE), 0, -128, 127)
        scale = max((high - low) / 255.0, SMALLEST_SCALE)
        return cls(scale, round(-low / scale), 0, 255)

    def round_trip(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Quantize and dequantize: round half to even, saturate."""
        integers = np.clip(np.rint(values / self.scale) + self.zero_point, self.qmin, self.qmax)
        result: npt.NDArray[np.float64] = self.scale * (integers - self.zero_point)
        return result

    def errors(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What a round trip adds to each value, in float32 as a runtime computes it."""
        flat = np.ascontiguousarray(values).reshape(-1)
        found = np.empty_like(flat)
        scale, low, high = np.float32(self.scale), self.qmin - self.zero_point, self.qmax - self.zero_point
        for start in range(0, len(flat), _CHUNK):
            given, error = flat[start : start + _CHUNK], found[start : start + _CHUNK]
            np.divide(given, scale, out=error)
            np.rint(error, out=error)
            np.clip(error, low, high, out=error)
            error *= scale
            error -= given
        return found.reshape(values.shape)
