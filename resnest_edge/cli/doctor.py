"""`resnest-edge doctor`."""

from __future__ import annotations

from resnest_edge.cli import options
from resnest_edge.cli.console import print_json, print_table


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
    machine = findings["machine"]
    print_table(
        "This machine",
        ("", ""),
        [
            ("CPU", f"{machine['cpu']}, {machine['cores']} cores"),
            ("Instruction sets", ", ".join(machine["cpu_isa"]) or "unknown"),
            ("INT8 weights", f"{findings['int8_weight_bits']} bits"),
            ("BF16", "computed by this CPU" if findings["bf16"] else "not computed by this CPU"),
            ("Memory", f"{machine['memory_gib']} GiB"),
            ("System", f"{machine['os']}, Python {machine['versions']['python']}"),
        ],
    )
    print_table(
        "What it can do",
        ("Part", "Version", "Builds", "Runs", "If missing"),
        [
            (part["name"], part["version"] or "–", _yes(part["builds"]), _yes(part["runs"]), part["hint"] or "")
            for part in findings["parts"]
        ],
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"
