"""Write docs/schema/*.json, the JSON Schemas of what resnest-edge writes, from its dataclasses and their docstrings.

    python scripts/report_schema.py           # write them
    python scripts/report_schema.py --check   # exit 1 when one is stale

A file's number is its schema's version. Keys may be added within a version; what is there keeps its meaning.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from resnest_edge.measure.summary import BenchmarkResult, Ratio
from resnest_edge.report import comparison, schema
from resnest_edge.search import sweep_journal

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schema"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean"}
_WRITTEN_BY_BENCHMARK = {"benchmark": BenchmarkResult, "ratios": Ratio}


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by its file's name."""
    report = top("report.json: what was measured", schema.SCHEMA, schema.Report)
    for name, kind in _WRITTEN_BY_BENCHMARK.items():
        # an older measurement in a newer report may lack what was added to it since
        report["$defs"] |= definitions(kind, required=False)
        report["properties"][name]["items"] = {"$ref": f"#/$defs/{kind.__name__}"}
    compared = top("compare.json: two reports compared", comparison.SCHEMA, comparison.Comparison)
    compared["properties"]["passed"] = {"type": "boolean", "description": "Whether every check passed."}
    compared["required"].append("passed")
    swept = top("sweep.json: a sweep's rows", sweep_journal.SCHEMA, sweep_journal.SweepFile)
    swept["$defs"] |= definitions(BenchmarkResult, required=False)
    swept["$defs"]["SweepRow"]["properties"]["results"]["items"] = {"$ref": "#/$defs/BenchmarkResult"}
    return {
        f"report-{schema.SCHEMA}.json": report,
        f"comparison-{comparison.SCHEMA}.json": compared,
        f"sweep-{sweep_journal.SCHEMA}.json": swept,
    }


def top(title: str, version: int, kind: type) -> dict[str, Any]:
    """The schema of a file that holds one dataclass, with its version beside the dataclass's own keys."""
    known = definitions(kind)
    own = known.pop(kind.__name__)
    own["properties"] = {"schema": {"const": version, "description": "Version of this schema."}, **own["properties"]}
    own["required"] = ["schema", *own["required"]]
    return {"$schema": DRAFT, "title": title, **own, "$defs": known}


def definitions(kind: type, *, required: bool = True) -> dict[str, Any]:
    """The schema of a dataclass and of those it holds, by their names.

    Args:
        kind: the dataclass.
        required: whether its keys must all be there; else those without a default.
    """
    hints, told = get_type_hints(kind), attributes(kind)
    found: dict[str, Any] = {}
    properties, needed = {}, []
    for field in fields(kind):
        properties[field.name] = described(type_schema(hints[field.name], found), told.get(field.name))
        if required or (field.default is MISSING and field.default_factory is MISSING):
            needed.append(field.name)
    first, *_ = (inspect.getdoc(kind) or "").splitlines()
    own = {"type": "object", "description": first, "properties": properties, "required": needed}
    return {kind.__name__: own, **found}


def type_schema(hint: Any, found: dict[str, Any]) -> dict[str, Any]:
    """The schema of one annotation; dataclasses that it names are put into ``found``."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [type_schema(option, found) for option in inner]}
    if hint is type(None):
        return {"type": "null"}
    if origin in (tuple, list):
        return list_schema(origin, inner, found)
    if origin is not None and issubclass(origin, Mapping):
        values = type_schema(inner[1], found)
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if is_dataclass(hint):
        name = getattr(hint, "__name__", "")
        if name not in found:
            found |= definitions(hint)  # type: ignore[arg-type]
        return {"$ref": f"#/$defs/{name}"}
    return {"type": _SIMPLE[hint]} if hint in _SIMPLE else {}


def list_schema(origin: Any, inner: tuple[Any, ...], found: dict[str, Any]) -> dict[str, Any]:
    """A list of one type, or of as many items as a tuple has."""
    if origin is list or (len(inner) == 2 and inner[1] is Ellipsis):
        return {"type": "array", "items": type_schema(inner[0], found)}
    items = [type_schema(item, found) for item in inner]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}


def attributes(kind: type) -> dict[str, str]:
    """What a docstring's ``Attributes`` section says of each."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def described(value: dict[str, Any], text: str | None) -> dict[str, Any]:
    """A schema with its description."""
    return value if text is None else {**value, "description": text}


def main() -> int:
    """Write or check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when a file is stale, and write nothing")
    check = parser.parse_args().check
    stale = []
    for name, value in schemas().items():
        path, text = FOLDER / name, json.dumps(value, indent=1, ensure_ascii=False) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"{', '.join(stale)} is stale; refresh it: python scripts/report_schema.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
