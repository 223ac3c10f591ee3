"""`resnest-edge doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resnest_edge.cli import options
from resnest_edge.cli.console import note, print_json, print_table


def command(json: options.Json = False) -> None:
    """Say what is here, what can be built and run, and what is missing.

    Example:

    $ resnest-edge doctor
    """
    from resnest_edge.pipeline.doctor import examine

    findings = examine()
    if json:
        print_json(findings)
        return
    print_table("This machine", ("", ""), list(_machine(findings)))
    print_table(
        "What it can do",
        ("Part", "Version", "Builds", "Runs"),
        [
            (part["name"], part["version"] or "–", _yes(part["builds"]), _yes(part["runs"]))
            for part in findings["parts"]
        ],
    )
    print_table(
        "Engines",
        ("Target", "Precision", "Builds", "Runs", "Why, or with what limit"),
        [
            (row["target"], row["precision"], _yes(row["builds"]), _yes(row["runs"]), row["reason"] or "")
            for row in findings["abilities"]
        ],
    )
    for item in findings["missing"]:
        note(f"Missing: {item['part']} ({item['why']}). Get it with: {item['command']}")


def _machine(findings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    machine = findings["machine"]
    yield "CPU", f"{machine['cpu']}, {machine['cores']} cores"
    yield "Instruction sets", ", ".join(machine["cpu_isa"]) or "unknown"
    yield "INT8 weights", f"{findings['int8_weight_bits']} bits"
    yield "BF16", "computed by this CPU" if findings["bf16"] else "not computed by this CPU"
    yield "Memory", f"{machine['memory_gib']} GiB"
    yield "System", f"{machine['os']}, Python {machine['versions']['python']}"
    if (jetson := findings["jetson"]) is not None:
        yield "Jetson", f"{jetson['board']}, JetPack {jetson['jetpack']} (Jetson Linux {jetson['l4t']})"
    yield from _gpu(findings)
    yield from _power(findings)
    cache = findings["cache"]
    kept = f"{cache['size_bytes'] / 2**20:.1f} of at most {cache['limit_bytes'] / 2**20:.0f} MiB"
    yield "Cache of builds", f"{cache['folder']}: {kept} (resnest-edge cache)"


def _gpu(findings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    gpu = findings["gpu"]
    if gpu is None:
        yield "GPU", f"none: {findings['gpu_reason']}"
        return
    driver = f", driver {gpu['driver']}" if gpu["driver"] else ""
    yield "GPU", f"{gpu['name']}, compute capability {gpu['compute_capability']}, {gpu['memory_mib']} MiB"
    yield "CUDA", f"{gpu['cuda']}{driver}"


def _power(findings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    power = findings["power"]
    if power.get("nvpmodel"):
        yield "Power mode", power["nvpmodel"]["mode"]
    if "jetson_clocks" in power:
        clocks = power["jetson_clocks"]
        yield "Clocks", "unknown (as root)" if clocks is None else "locked" if clocks["locked"] else "not locked"
    for name, meter in findings["meters"].items():
        if meter is not None:
            yield f"Power of the {name.upper()}", meter["source"] or f"not measured: {meter['reason']}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
