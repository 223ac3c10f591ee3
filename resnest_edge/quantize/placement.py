"""Placement: what one target wants quantized, as data. Its values stand beside the backends."""

from __future__ import annotations

from dataclasses import dataclass

from resnest_edge.spec import Precision, QdqStyle

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Placement:
    """How an INT8 graph is written for one target.

    Attributes:
        style: grid of the activations.
        float_type: number format of everything else.
        weight_bits: 8, or 7 where a CPU multiplies without VNNI: two products of 8-bit values overflow the 16-bit
            sum of ``vpmaddubsw`` (255·127·2 > 32767), two products with 7-bit weights do not (255·64·2 = 32640).
            Fewer is for experiments: the graph stores 8 bits all the same.
        operators: operators whose activations and weights are quantized.
        shortcuts: Q/DQ on the shortcut branch of a residual add, so that convolution, add and ReLU stay one kernel.
        outputs: Q/DQ behind each quantized operator as well (after its ReLU): ONNX Runtime fuses an operator only
            when its output is quantized too.
        elementwise: operators that run in INT8 between quantized tensors and so get Q/DQ on all their inputs.
        global_pools: means over height and width are written as global pools, which ONNX Runtime has in INT8.
        keep_float: names of weighted layers that stay in ``float_type``, for what INT8 costs there.
    """

    style: QdqStyle
    float_type: Precision = Precision.FP32
    weight_bits: int = 8
    operators: frozenset[str] = WEIGHTED
    shortcuts: bool = True
    outputs: bool = False
    output_readers: frozenset[str] | None = None
    elementwise: frozenset[str] = frozenset()
    global_pools: bool = False
    keep_float: frozenset[str] = frozenset()

    @property
    def weight_limit(self) -> int:
        """Largest magnitude of a weight's integer."""
        return 64 if self.weight_bits == 7 else 2 ** (self.weight_bits - 1) - 1


POOLS = frozenset({"AveragePool", "MaxPool"})
ELEMENTWISE = POOLS | {"Add", "Mul"}
FUSING = WEIGHTED | POOLS | {"Add", "Sub", "Mul", "ReduceMean", "GlobalAveragePool"}
"""What may read a layer's quantized output: no activation among them, which OpenVINO fuses into the layer itself."""
WIDEST = Placement(QdqStyle.CPU, outputs=True, elementwise=ELEMENTWISE)
"""The placement that quantizes every tensor that any target wants quantized."""
