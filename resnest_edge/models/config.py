"""The shape of a ResNeSt as data, and what follows from it by counting. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resnest_edge.errors import UsageError

EXPANSION = 4
STAGE_PLANES = (64, 128, 256, 512)
MIN_ATTENTION_CHANNELS = 32
ATTENTION_REDUCTION = 4


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
        if self.radix > 0 and any(self.group_width(p) % (self.radix * self.cardinality) for p in self.planes):
            raise UsageError(f"{self.radix} splits do not divide the channels of every cardinal group")
        if self.radix > 0 and any(self.attention_width(planes) % self.cardinality for planes in self.planes):
            raise UsageError(f"the attention's channels do not split into {self.cardinality} groups")

    def group_width(self, planes: int) -> int:
        """Channels of a block's 3×3 convolution at ``planes`` (the authors' rounding)."""
        return int(planes * (self.bottleneck_width / 64.0)) * self.cardinality

    def attention_width(self, planes: int) -> int:
        """Channels between the two fully connected layers of a split attention at ``planes``."""
        return max(self.group_width(planes) * self.radix // ATTENTION_REDUCTION, MIN_ATTENTION_CHANNELS)


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters: weights, biases, and scale and shift of each batch norm.
        macs: multiply-accumulates of the convolutions and fully connected layers for one image. Poolings, batch
            norms (they fold), activations and the weighting of the splits are not counted.
    """

    parameters: int
    macs: int


def cost_of(config: ResNeStConfig, image_size: int, num_classes: int = 1000) -> Cost:
    """Count a network of this shape, at square images of ``image_size`` pixels."""
    layers = list(_layers(config, image_size, num_classes))
    parameters = sum(layer.weights + layer.outputs * (layer.bias + 2 * layer.norm) for layer in layers)
    return Cost(parameters, sum(layer.weights * layer.side**2 for layer in layers))


@dataclass(frozen=True)
class _Conv:
    """One convolution or fully connected layer, at the size of its output."""

    inputs: int
    outputs: int
    kernel: int
    side: int
    groups: int = 1
    bias: bool = False
    norm: bool = True

    @property
    def weights(self) -> int:
        return self.inputs // self.groups * self.outputs * self.kernel**2


def _layers(config: ResNeStConfig, image_size: int, num_classes: int) -> Iterator[_Conv]:
    width = config.stem_width
    side = _half(image_size)
    yield _Conv(3, width, 3, side)
    yield _Conv(width, width, 3, side)
    yield _Conv(width, 2 * width, 3, side)
    side, inplanes = _half(side), 2 * width
    for number, planes in enumerate(config.planes):
        for index in range(config.layers[number]):
            stride = index == 0 and number > 0
            yield from _block(config, inplanes, planes, side, _half(side) if stride else side, first=index == 0)
            side, inplanes = _half(side) if stride else side, planes * EXPANSION
    yield _Conv(inplanes, num_classes, 1, 1, bias=True, norm=False)


def _block(
    config: ResNeStConfig, inplanes: int, planes: int, before: int, after: int, *, first: bool
) -> Iterator[_Conv]:
    width, outplanes = config.group_width(planes), planes * EXPANSION
    inside = after if config.avd_first else before
    groups = config.cardinality
    yield _Conv(inplanes, width, 1, before)
    if config.radix == 0:
        yield _Conv(width, width, 3, inside, groups)
    else:
        inner = config.attention_width(planes)
        yield _Conv(width, width * config.radix, 3, inside, groups * config.radix)
        yield _Conv(width, inner, 1, 1, groups, bias=True)
        yield _Conv(inner, width * config.radix, 1, 1, groups, bias=True, norm=False)
    yield _Conv(width, outplanes, 1, after)
    if first and (before != after or inplanes != outplanes):
        yield _Conv(inplanes, outplanes, 1, after)


def _half(side: int) -> int:
    """Side after a stride of 2: the padded 3×3 windows and the shortcut's ceil-mode pool agree."""
    return (side + 1) // 2
