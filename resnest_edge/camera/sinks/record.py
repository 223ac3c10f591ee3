"""A result as JSON and as words. The keys are documented in docs/sinks.md and stay as they are; new ones may come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timezone
from typing import Any

from resnest_edge.camera.base import CameraResult, SourceCounts


def to_json(result: CameraResult) -> dict[str, Any]:
    """Plain values of one result; the picture itself is left out."""
    frame = result.frame
    height, width = frame.image.shape[:2]
    return {
        "source": frame.source,
        "frame_id": frame.frame_id,
        "captured_at": frame.captured_at.astimezone(timezone.utc).isoformat(timespec="microseconds"),
        "name": frame.name or None,
        "width": width,
        "height": height,
        "answers": [asdict(answer) for answer in result.answers],
        "latency_ms": {stage: round(value, 3) for stage, value in result.latency_ms.items()},
        "bundle": result.bundle,
    }


def counts_json(counts: SourceCounts) -> dict[str, Any]:
    """Plain values of one source's account."""
    return {**asdict(counts), "state": counts.state.value}


def to_lines(result: CameraResult) -> list[str]:
    """What is drawn on a frame: where and when it was taken, and a line an answer, the probability first."""
    stamp = result.frame.captured_at.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    answers = [f"{100 * answer.probability:.1f} %  {answer.label}" for answer in result.answers]
    return [f"{result.frame.source}  {stamp} UTC", *(answers or ["no answer"])]


def counters_words(counters: Mapping[str, int]) -> str:
    """Counters of a sink in one line."""
    return ", ".join(f"{value} {key}" for key, value in counters.items())
