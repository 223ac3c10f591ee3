"""What TensorRT wants quantized, as data."""

from __future__ import annotations

from resnest_edge.quantize.placement import Placement
from resnest_edge.spec import Precision, QdqStyle

# Q/DQ on the shortcut branch of a residual add only, so that convolution, add and ReLU stay one kernel
# (NVIDIA Model-Optimizer pull requests 425 and 2024).
PLACEMENT_INT8 = Placement(style=QdqStyle.PORTABLE, float_type=Precision.FP16)
