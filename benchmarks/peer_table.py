"""The table of ``benchmarks.peers`` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ALONE = (1, 1)


def render(value: Mapping[str, Any]) -> str:
    """Latency at batch 1 and one stream, the best throughput of each engine, and every cell's ratio."""
    machine = value["machine"]
    names = list(dict.fromkeys(result["bundle"] for result in value["results"]))
    rows = [_row(value, name, names[0]) for name in names]
    rows += [f"| {name} | {reason} | | | | | |" for name, reason in value["failed"].items()]
    text = (
        f"# {value['model']} at {value['image_size']} px: others and us\n\n"
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_isa'])}); "
        f"{value['rounds']} rounds of {value['seconds']} s for each engine, interleaved, one run for each batch size "
        f"and number of streams; {value['weights']} weights. Speed is relative to `{names[0]}`, within each round: "
        "median, and quartiles over the rounds.\n\n"
        "| engine | median latency, ms (batch 1) | speed, of the first's (quartiles) | best images/s "
        "(batch × streams) | of the first's | GMAC/s | peak MiB |\n|---|---|---|---|---|---|---|\n"
    )
    return text + "\n".join(rows) + "\n\n" + _cells(value, names) + _settings(value, names) + _warnings(value)


def _row(value: Mapping[str, Any], name: str, first: str) -> str:
    results = value["results"]
    single, best, base = _cell(results, name, ALONE), _best(results, name), _best(results, first)
    p50 = "–" if single is None else f"{single['latency_ms']['p50']:.1f}"
    achieved = f"{value['macs_per_image'] * best['images_per_second'] / 1e9:.0f}"
    return (
        f"| {name} | {p50} | {_speedup(value['ratios'], name, ALONE)} | {best['images_per_second']:.1f} "
        f"({best['batch']} × {best['streams']}) | {best['images_per_second'] / base['images_per_second']:.2f} "
        f"| {achieved} | {best['peak_rss_mib']:.0f} |"
    )


def _cells(value: Mapping[str, Any], names: Sequence[str]) -> str:
    """Throughput of every batch size and number of streams; nothing where only one was measured."""
    cells = sorted({(run["batch"], run["streams"]) for run in value["runs"]})
    if len(cells) < 2:
        return ""
    head = "| images/s, and speed of the first's in the same run | " + " | ".join(f"{b} × {s}" for b, s in cells)
    lines = [f"{head} |", "|---" * (len(cells) + 1) + "|"]
    for name in names:
        found = [_cell(value["results"], name, cell) for cell in cells]
        shares = [_speedup(value["ratios"], name, cell, short=True) for cell in cells]
        texts = [
            "–" if one is None else f"{one['images_per_second']:.1f}; {share}"
            for one, share in zip(found, shares, strict=True)
        ]
        lines.append(f"| {name} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n\n"


def _settings(value: Mapping[str, Any], names: Sequence[str]) -> str:
    """What each runtime says it ran with, of the first cell, the engines of equal settings together."""
    groups: dict[str, list[str]] = {}
    for name in names:
        settings = next(result["settings"] for result in value["results"] if result["bundle"] == name)
        words = ", ".join(f"{key} {setting}" for key, setting in settings.items())
        groups.setdefault(words, []).append(name)
    return "".join(f"- {'; '.join(group)}: {words}\n" for words, group in groups.items())


def _warnings(value: Mapping[str, Any]) -> str:
    return "".join(
        f"- {run['batch']} × {run['streams']}: {warning}\n" for run in value["runs"] for warning in run["warnings"]
    )


def _cell(results: Sequence[Mapping[str, Any]], name: str, cell: tuple[int, int]) -> Mapping[str, Any] | None:
    return next((r for r in results if (r["bundle"], r["batch"], r["streams"]) == (name, *cell)), None)


def _best(results: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return max((r for r in results if r["bundle"] == name), key=lambda r: float(r["images_per_second"]))


def _speedup(ratios: Sequence[Mapping[str, Any]], name: str, cell: tuple[int, int], *, short: bool = False) -> str:
    """The engine's speed as a share of the first's in a cell's run."""
    found = next((r for r in ratios if (r["bundle"], r["batch"], r["streams"]) == (name, *cell)), None)
    if found is None:
        return "–"
    speedup = found["speedup"]
    median = f"{speedup['median']:.2f}"
    return median if short else f"{median} ({speedup['q25']:.2f} to {speedup['q75']:.2f})"
