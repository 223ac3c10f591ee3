"""From a command's options to the request that the pipeline takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from resnest_edge.backends.base import BuildOptions
from resnest_edge.cli.console import note
from resnest_edge.cli.options import triple
from resnest_edge.cli.typed import typed_command
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.sources import PreprocessingChoice
from resnest_edge.spec import BatchRange, Form, Precision
from resnest_edge.stage_cache import StageCache, stages_folder

_SAME = (
    "what",
    "weights",
    "num_classes",
    "input_format",
    "images",
    "eval_images",
    "calib_images",
    "seed",
    "method",
    "bias_correction",
    "round_weights",
    "weight_scales",
    "equalize",
    "scales",
    "weight_bits",
    "skip_bad",
    "trust",
    "tuned",
    "out",
    "force",
)
_ENGINE = (
    "timing_cache",
    "version_compatible",
    "hardware_compatibility",
    "dla_core",
    "refittable",
    "stripped",
)


def make_request(given: Mapping[str, Any]) -> BuildRequest:
    """Collect a command's parameters, by name; what a command does not have keeps its default.

    Raises:
        UsageError: a value that cannot be read.
    """
    batch = given.get("batch")
    return BuildRequest(
        **{name: given[name] for name in _SAME if name in given},
        form=given.get("form") or Form.SPLIT,
        choice=make_choice(given),
        precisions=tuple(given.get("precision") or (Precision.INT8,)),
        targets=tuple(given.get("target") or ()),
        command=typed_command(),
        cache=StageCache(stages_folder(), note) if given.get("cache") else None,
        batch=None if batch is None else BatchRange.parse(batch),
        options=BuildOptions(
            compute_capabilities=tuple(given.get("compute_capability") or ()),
            workspace_mib=given.get("workspace"),
            optimization_level=given.get("optimization_level"),
            **{name: given[name] for name in _ENGINE if name in given},
        ),
    )


def make_choice(given: Mapping[str, Any]) -> PreprocessingChoice:
    """The preprocessing options, by name."""
    return PreprocessingChoice(
        image_size=given.get("image_size"),
        resize=given.get("resize"),
        interpolation=given.get("interpolation"),
        mean=triple("--mean", given.get("mean")),
        std=triple("--std", given.get("std")),
        color=given.get("color"),
    )
