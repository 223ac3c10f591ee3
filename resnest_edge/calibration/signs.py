"""Signs that calibration saw too few images, or the wrong ones: what a user should hear before trusting the ranges."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from resnest_edge.calibration.collect import Statistics
from resnest_edge.calibration.observers import HistogramObserver
from resnest_edge.calibration.scales import Scales, TensorRange

FEW = 32
"""Fewer calibration images than this are said to be few."""
_PLAIN_SPAN = 1.0
"""Photographs span four to five standard deviations of the network's input; one colour spans a few tenths."""
_SATURATED = 0.01
"""Share of values beyond their range, over all tensors, above which images do not belong to the calibration."""


def calibration_signs(statistics: Statistics, input_name: str) -> list[str]:
    """What is odd about the calibration images by themselves, as sentences.

    Args:
        statistics: what was seen of every tensor.
        input_name: the tensor of normalised pixels.
    """
    told = []
    if statistics.images < FEW:
        told.append(
            f"{statistics.images} calibration images are few: ranges and corrections rest on little (512 are usual)"
        )
    pixels = statistics.observers.get(input_name)
    if pixels is not None and pixels.maximum - pixels.minimum < _PLAIN_SPAN:
        told.append(
            f"the calibration images are almost of one colour: all their pixels lie within "
            f"{pixels.maximum - pixels.minimum:.2f} standard deviations of the network's input; are they the right ones"
        )
    dead = [name for name, seen in statistics.observers.items() if seen.minimum == seen.maximum]
    if dead:
        told.append(
            f"{len(dead)} of {len(statistics.observers)} tensors never change over the calibration images, first "
            f"{dead[0]}: dead channels, or images that say nothing"
        )
    return told


def saturated_share(seen: HistogramObserver, kept: TensorRange) -> float:
    """Share, from 0 to 1, of a tensor's values that lie beyond the range that is kept."""
    centres, half = seen.centres(), seen.width / 2
    beyond = (centres - half > kept.high) | (centres + half < kept.low)
    return float(seen.counts[beyond].sum() / max(seen.counts.sum(), 1))


def domain_signs(measured: Statistics, scales: Scales) -> list[str]:
    """Whether the images that are measured on leave the ranges that calibration found, as sentences.

    Args:
        measured: what a few of the measured images give in the same FP32 graph.
        scales: the calibrated ranges.
    """
    shares: Mapping[str, float] = {
        name: saturated_share(seen, scales.ranges[name])
        for name, seen in measured.observers.items()
        if name in scales.ranges
    }
    mean = float(np.mean(list(shares.values()))) if shares else 0.0
    if mean <= _SATURATED:
        return []
    worst = max(shares, key=lambda name: shares[name])
    text = (
        f"the measured images leave the calibrated ranges: {100 * mean:.1f} % of their values saturate, "
        f"most in {worst} ({100 * shares[worst]:.0f} %); the calibration images seem to be of another kind"
    )
    return [text]
