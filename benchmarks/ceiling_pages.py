"""The pages of ``benchmarks.ceilings``: Markdown, and a picture of each engine's time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.time_account import REST
from resnest_edge.files import write_text
from resnest_edge.report.bars import Bar, bar_plot
from resnest_edge.report.svg import standalone
from resnest_edge.report.words import NONE, TARGETS, measure, number

_ORDER = ("stem", "stage 1", "stage 2", "stage 3", "stage 4", "", "plain")


def write_pages(value: Mapping[str, Any], out: Path) -> str:
    """Write ``ceilings.md`` and a picture an engine into ``out``.

    Args:
        value: of ``ceilings.json``.
        out: folder.

    Returns:
        The Markdown.
    """
    pictures = {engine["name"]: f"{_slug(engine)}.svg" for engine in value["engines"]}
    for engine in value["engines"]:
        write_text(out / pictures[engine["name"]], standalone(time_plot(engine)))
    text = render(value, pictures)
    write_text(out / "ceilings.md", text)
    return text


def render(value: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The tables: ceilings, engines against them, and the parts of each engine's time."""
    machine = value["machine"]
    amx = "" if "amx_int8" in machine["cpu_isa"] else "; no AMX"
    conditions = (
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine['cpu_isa'])}{amx}); {value['rounds']} "
        f"interleaved rounds, slices of {1000 * value['seconds']:g} ms, batch 1, one stream. A ceiling is the rate of "
        "a chain of plain convolutions of that shape and its mirror, from the difference of the quickest run of a long "
        "and of a short chain; times of engines are medians over the rounds."
    )
    sections = [
        f"# {value['model']} at {value['image_size']} px: how near the limit",
        conditions,
        "## Ceilings, TMAC/s",
        _ceilings(value["ceilings"]),
        "## Engines against them",
        _engines(value["engines"], value["ceilings"]),
    ]
    for engine in value["engines"]:
        sections += [f"### {engine['name']}", f"![its time]({pictures[engine['name']]})", _parts(engine)]
    return "\n\n".join(sections) + "\n"


def time_plot(engine: Mapping[str, Any]) -> Any:
    """A bar for each part of an engine's time: to what its ceiling would take, a line on to what it takes."""
    bars = [
        Bar(_named(part), _bar_words(part), part["at_ceiling_ms"] or 0.0, part["milliseconds"], _colour(part))
        for part in ordered(engine["parts"])
    ]
    return bar_plot(f"Where the time of {engine['name']} goes: at the ceiling, and measured", bars)


def ordered(parts: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Convolutions from the input to the output, then the rest."""
    return sorted(parts, key=lambda part: (_ORDER.index(part["stage"]), _rank(part["kind"])))


def _rank(kind: str) -> int:
    kinds = ("1×1", "1×1 in", "3×3", "1×1 out", "1×1 shortcut", *REST)
    return kinds.index(kind)


def _ceilings(found: Sequence[Mapping[str, Any]]) -> str:
    """A line a shape, a column for each runtime and precision."""
    columns = list(dict.fromkeys((one["target"], one["precision"]) for one in found))
    heads = [f"{TARGETS[target]} {precision.upper()}" for target, precision in columns]
    shapes = dict.fromkeys((one["stage"], one["kind"], one["shape"]) for one in found)
    lines = ["| | shape | " + " | ".join(heads) + " |", "|---" * (len(columns) + 2) + "|"]
    for stage, _, shape in sorted(shapes, key=lambda one: (_ORDER.index(one[0]), _rank(one[1]))):
        rates = [_rate(found, column, lambda one, wanted=shape: one["shape"] == wanted) for column in columns]
        lines.append(f"| {stage} | {shape} | " + " | ".join(f"{rate:.3f}" for rate in rates) + " |")
    best = [_rate(found, column, lambda _: True) for column in columns]
    lines.append("| **best** | | " + " | ".join(f"**{rate:.3f}**" for rate in best) + " |")
    return "\n".join(lines)


def _rate(found: Sequence[Mapping[str, Any]], column: tuple[str, str], wanted: Any) -> float:
    rates = [one for one in found if (one["target"], one["precision"]) == column and wanted(one)]
    return max(float(one["tmacs_per_second"]) for one in rates)


def _engines(engines: Sequence[Mapping[str, Any]], ceilings: Sequence[Mapping[str, Any]]) -> str:
    """Each engine's rate, as a share of the best chain and of what its own shapes allow, and its time in kinds."""
    heads = ("engine", "median latency", "TMAC/s", "of the best chain", "convolutions at their ceilings", "beyond them")
    lines = [f"| {' | '.join((*heads, 'beside convolutions', 'outside the layers'))} |", "|---" * 8 + "|"]
    for engine in engines:
        best = _rate(ceilings, (engine["target"], engine["precision"]), lambda _: True)
        held = [part for part in engine["parts"] if part["at_ceiling_ms"] is not None]
        ideal = sum(part["at_ceiling_ms"] for part in held)
        beyond = sum(part["beyond_ms"] for part in held)
        beside = sum(part["milliseconds"] for part in engine["parts"] if part["at_ceiling_ms"] is None)
        total = engine["latency_ms"]
        spans = (ideal, beyond, beside, engine["outside_ms"])
        texts = [f"{measure(span, 'ms')} ({number(100 * span / total, 0)} %)" for span in spans]
        rate = engine["tmacs_per_second"]
        lines.append(
            f"| {engine['name']} | {measure(total, 'ms')} | {rate:.3f} | {number(100 * rate / best, 0)} % | "
            + " | ".join(texts)
            + " |"
        )
    return "\n".join(lines) + (
        "\n\nTimes of layers are taken with the profiler on, the latency without; the last column is their difference."
    )


def _parts(engine: Mapping[str, Any]) -> str:
    lines = [
        "| part | layers | time | TMAC/s | its ceiling | time at the ceiling | beyond |",
        "|---|---|---|---|---|---|---|",
    ]
    for part in ordered(engine["parts"]):
        rates = [
            NONE if part[key] is None else f"{part[key]:.3f}"
            for key in ("tmacs_per_second", "ceiling_tmacs_per_second")
        ]
        ideal = NONE if part["at_ceiling_ms"] is None else measure(part["at_ceiling_ms"], "ms")
        lines.append(
            f"| {_named(part)} | {part['layers']} | {measure(part['milliseconds'], 'ms')} | {' | '.join(rates)} "
            f"| {ideal} | {measure(part['beyond_ms'], 'ms')} |"
        )
    return "\n".join(lines)


def _named(part: Mapping[str, Any]) -> str:
    return " ".join(word for word in (part["stage"], part["kind"]) if word)


def _bar_words(part: Mapping[str, Any]) -> str:
    spent = measure(part["milliseconds"], "ms")
    return spent if part["at_ceiling_ms"] is None else f"{spent}, at its ceiling {measure(part['at_ceiling_ms'], 'ms')}"


def _colour(part: Mapping[str, Any]) -> str:
    return "c2" if part["at_ceiling_ms"] is None else "c1"


def _slug(engine: Mapping[str, Any]) -> str:
    return f"{engine['target']}-{engine['precision']}"
