"""From statistics to scales: ranges chosen, then weights rounded between them, then biases corrected for both."""

from __future__ import annotations

from dataclasses import dataclass, replace

from resnest_edge.calibration.collect import Statistics
from resnest_edge.calibration.ranges import AUTO
from resnest_edge.calibration.scales import Scales
from resnest_edge.images import ImageSet
from resnest_edge.pipeline.automatic import choose_ranges
from resnest_edge.pipeline.layerwise import Layerwise
from resnest_edge.pipeline.progress import Progress
from resnest_edge.pipeline.typed import Network
from resnest_edge.quantize.placement import Placement


@dataclass(frozen=True)
class Learning:
    """Which methods make the scales.

    Attributes:
        method: of the activations' ranges: one of ``calibration.ranges.METHODS``, or ``auto``.
        bias_correction: take each layer's mean error out of its bias.
        round_weights: round weights by their effect on the layer's output.
        weight_scales: one of ``calibration.scales.WEIGHT_SCALES``.
    """

    method: str = "mse"
    bias_correction: bool = True
    round_weights: bool = True
    weight_scales: str = "max"


def learn(
    network: Network,
    statistics: Statistics,
    placement: Placement,
    images: ImageSet,
    how: Learning,
    *,
    skip_bad: bool,
    progress: Progress,
) -> Scales:
    """Make the scales of one placement.

    Args:
        network: the FP32 core.
        statistics: of the core's tensors over the calibration images.
        placement: what the target wants quantized; layers kept in float take none of what is learned for them.
        images: the calibration images; ``auto``, and rounding with correction, run a few of them again.
        how: the methods.
        skip_bad: leave damaged pictures out; calibration has named them.
        progress: told of each batch.

    Raises:
        UsageError: the method is not known.
    """
    if how.method == AUTO:
        scales = choose_ranges(network, statistics, placement, images, skip_bad=skip_bad, progress=progress)
    else:
        scales = statistics.scales(how.method, placement.style)
    scales = replace(scales, weight_scales=how.weight_scales)
    if not (how.round_weights or how.bias_correction):
        return scales
    layerwise = Layerwise(network, scales, placement, images, skip_bad=skip_bad, progress=progress)
    return layerwise.learn(round_weights=how.round_weights, correct_biases=how.bias_correction)
