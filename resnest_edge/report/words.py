"""Numbers and findings in words, the same in every format of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from resnest_edge.report.schema import Report, Row

NONE = "–"
SPACE = "\N{NO-BREAK SPACE}"

TARGETS = {
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "tensorrt": "TensorRT",
    "tensorrt-rtx": "TensorRT-RTX",
}
_WORDS = {"cpu": "CPU", "gpu": "GPU", "os": "OS", "isa": "ISA", "gib": "GiB", "mib": "MiB"}


def number(value: float, digits: int) -> str:
    """Fixed decimals, thousands separated, with a real minus sign, and no minus before a zero."""
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "\N{MINUS SIGN}")


def measure(value: float, unit: str) -> str:
    """About three significant digits and a unit: ``7.21 ms``, ``46.0 ms``, ``1,204 img/s``."""
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{number(value, digits)}{SPACE}{unit}"


def percent(value: float) -> str:
    """``87.44 %``."""
    return f"{number(value, 2)}{SPACE}%"


def signed(value: float, digits: int = 2) -> str:
    """A change: ``+0.15``, ``−0.10``, ``0.00``."""
    text = number(value, digits)
    return text if value < 0 or float(text.replace(",", "")) == 0 else f"+{text}"


def change_words(drop: float, interval: tuple[float, float] | None) -> str:
    """A drop as the change it is: ``−0.10 points of top-1, 95 % interval −0.30 to +0.10``."""
    words = f"{signed(-drop)} points of top-1"
    if interval is None:
        return words
    return f"{words}, 95{SPACE}% interval {between(signed(-interval[1]), signed(-interval[0]))}"


def labels(rows: Sequence[Row]) -> list[str]:
    """The shortest name that tells each row from the others: precision, with target, with form, or the bundle's own."""
    names = [row.precision.upper() for row in rows]
    targets = [f"{row.precision.upper()} {TARGETS.get(row.target, row.target)}" for row in rows]
    for longer in (
        targets,
        [f"{name} {row.form}" if row.form else name for name, row in zip(targets, rows, strict=True)],
        [row.bundle for row in rows],
    ):
        seen = Counter(names)
        names = [name if seen[name] == 1 else longer[index] for index, name in enumerate(names)]
    return names


def headline(report: Report) -> str:
    """What was found, in one sentence: the fastest engine against the first."""
    names = labels(report.rows)
    if len(report.rows) == 1:
        return _alone(names[0], report.rows[0])
    index = subject(report)
    row, name, reference = report.rows[index], names[index], names[0]
    if row.speedup is None:
        return f"{name} against {reference}: {_accuracy_alone(row)}; speed was not measured."
    times, low, high = (row.speedup[key] for key in ("median", "q25", "q75"))
    if low <= 1 <= high:
        speed = f"is as fast as {reference} ({number(times, 2)}×)"
    elif times < 1:
        speed = f"is slower than {reference} ({number(times, 2)}× its speed)"
    else:
        speed = f"is {number(times, 2)}× faster than {reference}"
    return f"{name} {speed}{_accuracy_clause(row)}."


def evidence(report: Report) -> str:
    """How sure the headline is, in sentences; empty where there is nothing to say."""
    row = report.rows[subject(report)]
    return " ".join(text for text in (_speed_evidence(report, row), _accuracy_evidence(row)) if text)


def _speed_evidence(report: Report, row: Row) -> str:
    if row.speedup is None or row.latency_batch is None or row.latency_streams is None:
        return ""
    cell = (row.latency_batch, row.latency_streams)
    found = {
        result["bundle"]: result["images_per_second"]
        for result in report.benchmark
        if (result["batch"], result["streams"]) == cell
    }
    if not {row.bundle, report.rows[0].bundle} <= found.keys():
        return ""
    ours, theirs = measure(found[row.bundle], "images/s"), measure(found[report.rows[0].bundle], "images/s")
    low, high = (number(row.speedup[key], 2) for key in ("q25", "q75"))
    return f"At {cell_words(*cell)}: {ours} against {theirs}; half of the rounds lie between {low}× and {high}×."


def _accuracy_evidence(row: Row) -> str:
    if row.drop_ci95 is None or row.images is None:
        return ""
    low, high = row.drop_ci95
    if low > 0:
        return f"On {row.images:,} images the interval excludes zero: the loss is real."
    if high < 0:
        return f"On {row.images:,} images the interval excludes zero: the gain is real."
    return f"The interval includes zero: on these {row.images:,} images the two cannot be told apart."


def subject(report: Report) -> int:
    """Index of the row the headline is about: the fastest besides the reference, else the last."""
    others = range(1, len(report.rows))
    timed = [(speedup["median"], index) for index in others if (speedup := report.rows[index].speedup) is not None]
    return max(timed)[1] if timed else len(report.rows) - 1


def _alone(name: str, row: Row) -> str:
    parts = []
    if row.latency_ms is not None:
        batch = "an image" if row.latency_batch == 1 else f"a batch of {row.latency_batch}"
        parts.append(f"answers {batch} in {measure(row.latency_ms['p50'], 'ms')}")
    if row.top1 is not None and row.images is not None:
        parts.append(f"is right on {percent(row.top1)} of {row.images:,} images")
    return f"{name} {' and '.join(parts) or 'was built, and not measured'}."


def _accuracy_clause(row: Row) -> str:
    if row.drop is not None:
        return f" at {change_words(row.drop, row.drop_ci95)}"
    if row.agreement is not None:
        return f" and names the same class on {percent(row.agreement)} of the images, which have no labels"
    return "; accuracy was not measured"


def _accuracy_alone(row: Row) -> str:
    if row.drop is not None:
        return change_words(row.drop, row.drop_ci95)
    if row.agreement is not None:
        return f"the same class on {percent(row.agreement)} of the images, which have no labels"
    return "accuracy was not measured"


def between(low: str, high: str) -> str:
    """``−0.30 to +0.10``, on one line."""
    return f"{low}{SPACE}to{SPACE}{high}"


def listed(names: Sequence[str]) -> str:
    """``A``, ``A and B``, ``A, B and C``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def when(created: str) -> str:
    """``2026-01-05 10:12 UTC``; what is no ISO 8601 time stays as it is."""
    try:
        return datetime.fromisoformat(created).astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return created


def cell_words(batch: int, streams: int) -> str:
    """``batch 8, 2 streams``; a single stream goes without saying."""
    return f"batch {batch}" if streams == 1 else f"batch {batch}, {streams} streams"


def environment_lines(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values, one level deep: a mapping becomes ``name value, name value``, a list its items."""
    return [
        (" ".join(_WORDS.get(word, word) for word in name.split("_")), _plain(value))
        for name, value in environment.items()
    ]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(_plain(item) for item in value)
    return NONE if value is None else str(value)


def method(report: Report) -> list[str]:
    """How it was measured, as paragraphs."""
    return [*_accuracy_method(report), *_speed_method(report)]


def _accuracy_method(report: Report) -> list[str]:
    counted = [row for row in report.rows if row.images is not None]
    if not counted:
        return ["Accuracy was not measured."]
    text = [f"Every engine answered the same {counted[0].images:,} images.", *_reasons(report)]
    if any(row.top1 is not None for row in counted):
        text.append("The interval of top-1 is Wilson's, at 95 %.")
    if any(row.drop is not None for row in counted):
        text.append(
            f"Top-1 change is that of the engine minus that of {labels(report.rows)[0]}, in percentage points: "
            "negative when accuracy is lost. Its 95 % interval pairs the two answers to each image (Tango's score "
            "interval)."
        )
    if any(row.agreement is not None for row in counted):
        text.append(
            "Agreement is how often the two name the same class; logit SQNR is 10·log10(Σ ref² / Σ (ref − x)²) over "
            "all images."
        )
    return [" ".join(text)]


def _reasons(report: Report) -> list[str]:
    """Why accuracies are missing, the engines of one reason together."""
    missing: dict[str, list[str]] = {}
    for row, name in zip(report.rows, labels(report.rows), strict=True):
        if row.top1 is None and row.reason is not None:
            missing.setdefault(row.reason, []).append(name)
    return [f"Without top-1: {listed(names)} ({reason})." for reason, names in missing.items()]


def _speed_method(report: Report) -> list[str]:
    if not report.benchmark:
        return ["Speed was not measured."]
    given = report.conditions
    fed = "frames of noise" if given["input"] == "random" else given["input"]
    threads = "as many threads as cores" if given["threads"] is None else f"{given['threads']} threads"
    others = given.get("other_work_cores")
    meanwhile = "" if others is None else f" and other work on {others:.2f} cores meanwhile"
    text = (
        "Each bundle ran in a process of its own, all loaded at once and one at work at a time: "
        f"{given['rounds']} rounds, in each of which every bundle had {given['slice_seconds']:g} s for each batch size "
        f"and number of streams, in an order drawn anew, after a warm-up of {given['warmup_seconds']:g} s. "
        f"{given['cores']} cores, {threads}, load average {given['load_average']:.2f} before the start{meanwhile}, "
        f"fed {fed}. "
        "Latency runs from submitting one inference to its result; throughput is all images over all the time they "
        "took, with a 95 % interval from the rounds' spread (bootstrap); a speed ratio is the median over rounds of "
        "the ratio within a round, with its quartiles. "
        "Memory is the most a process held, with every batch size loaded."
    )
    return [text]
