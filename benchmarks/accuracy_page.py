"""The comparison of quantizers as Markdown, with what it says of ours in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.quantizer_report import drop_words, table

_COLUMNS = (
    "quantizer",
    "style",
    "INT8 layers",
    "images",
    "logit SQNR, dB",
    "ours better by, dB (95 %)",
    "KL, nats",
    "theirs more by, nats (95 %)",
    "agreement, %",
    "top-1, %",
    "drop, points (95 %)",
    "CPU s",
    "peak MiB",
)
_RUN_WORDS = {
    "written": "Q/DQ is computed as each graph writes it, in float32",
    "openvino": "OpenVINO runs the graphs, in float32 around its INT8 kernels, on a CPU whose INT8 products are exact",
}


def render(about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The measurement as Markdown, with what it says of us in a sentence."""
    return (
        f"# {about['model']}: INT8 by others and by us\n\n"
        f"{about['evaluated_images']} images, FP32 top-1 {about['fp32_top1']:.2f} %. All quantize the same FP32 graph; "
        f"{_RUN_WORDS[about['run']]}, with 8-bit weights. Which layers are quantized is each "
        "quantizer's own choice, and so is the style: `portable` has every activation in int8 with zero point 0, which "
        "is what TensorRT takes. *Images* calibrate; accuracy control validates on "
        f"{about['validation_images']} others of the same folder. Seconds of CPU and memory are of the quantizer's own "
        "process, from the FP32 graph and the list of pictures to the Q/DQ graph. Better and more are against the "
        "first row of the same style.\n\n"
        f"{table(_COLUMNS, map(_line, rows))}\n{verdict(rows)}\n"
    )


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where another quantizer is nearer to FP32 than ours, by an interval that does not hold zero; or that none is."""
    others = [row for row in rows if "reason" not in row and not row["ours"] and row["better_db"] is not None]
    nearer = [
        f"- {row['quantizer']} is nearer to FP32 than ours by {words}.\n"
        for row in others
        for words, bounds in (("logit SQNR", row["better_db_ci95"]), ("KL", row["more_kl_ci95"]))
        if bounds[1] < 0
    ]
    none = f"Of the {len(others)} graphs of others, none is nearer to FP32 than ours of the same style"
    return "".join(nearer) if nearer else f"{none}, by logit SQNR or KL, at 95 %.\n"


def _line(row: Mapping[str, Any]) -> str:
    if "reason" in row:
        return f"| {row['quantizer']} | | | {row['images']} | {row['reason']} |{' |' * (len(_COLUMNS) - 5)}"
    cells = [
        row["quantizer"],
        row["style"],
        f"{row['int8_layers']} of {row['layers']}",
        row["images"],
        f"{row['logit_sqnr_db']:.1f}",
        _difference(row, "better_db", "+.1f"),
        f"{row['kl']:.1e}",
        _difference(row, "more_kl", "+.1e"),
        f"{row['agreement']:.2f}",
        f"{row['top1']:.2f}",
        drop_words(row),
        f"{row['cpu_seconds']:.1f}",
        row["peak_rss_mib"],
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _difference(row: Mapping[str, Any], key: str, form: str) -> str:
    if row["better_db"] is None:
        return "–"
    low, high = row[f"{key}_ci95"]
    return f"{row[key]:{form}} ({low:{form}} to {high:{form}})"
