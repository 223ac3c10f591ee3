"""The shape of a ResNeSt, as data: no PyTorch is needed to list or compare networks."""

from __future__ import annotations

from dataclasses import dataclass

from resnest_edge.errors import UsageError

EXPANSION = 4
STAGE_PLANES = (64, 128, 256, 512)


@dataclass(frozen=True)
class ResNeStConfig:
    """The shape of one ResNeSt.

    Attributes:
        layers: blocks in each of the four stages.
        radix: splits within a cardinal group; 0 means a plain grouped convolution without attention.
        cardinality: cardinal groups.
        bottleneck_width: width of one group at 64 planes.
        stem_width: channels of the first two stem convolutions; the stem ends with twice as many.
        avd_first: the average pool of a strided block stands before the split attention ("fast" variants).
        planes: base width of each stage; the paper's are 64, 128, 256, 512.
    """

    layers: tuple[int, int, int, int]
    radix: int = 2
    cardinality: int = 1
    bottleneck_width: int = 64
    stem_width: int = 32
    avd_first: bool = False
    planes: tuple[int, int, int, int] = STAGE_PLANES

    def __post_init__(self) -> None:
        if len(self.layers) != 4 or min(self.layers) < 1 or len(self.planes) != 4 or min(self.planes) < 1:
            raise UsageError("a ResNeSt has four stages of at least one block and one plane each")
        if self.radix < 0 or min(self.cardinality, self.bottleneck_width, self.stem_width) < 1:
            raise UsageError("radix must be 0 or more; cardinality, bottleneck width and stem width 1 or more")
        if any(self.group_width(planes) < self.cardinality for planes in self.planes):
            raise UsageError("the bottleneck width leaves a group without channels")

    def group_width(self, planes: int) -> int:
        """Channels of a block's 3×3 convolution at ``planes`` (the authors' rounding)."""
        return int(planes * (self.bottleneck_width / 64.0)) * self.cardinality
