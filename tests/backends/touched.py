"""Every name of a vendor that backends/tensorrt touches, read from its source so that the list cannot drift."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from resnest_edge.backends import tensorrt

OTHERS = {"device_array.py"}
"""Files that speak to other libraries: the array protocols are not TensorRT's."""

SOURCES = sorted(path for path in Path(tensorrt.__file__).parent.glob("*.py") if path.name not in OTHERS)

VENDOR: dict[str, tuple[str, ...]] = {
    "library": ("",),
    "builder": ("Builder",),
    "cache": ("ITimingCache",),
    "config": ("IBuilderConfig",),
    "context": ("IExecutionContext",),
    "dequantize": ("IDequantizeLayer",),
    "engine": ("ICudaEngine",),
    "error": ("ParserError",),
    "flag": ("BuilderFlag",),
    "inspector": ("EngineInspector",),
    "kernel": ("IDequantizeLayer",),
    "kind": ("LayerType",),
    "layer": ("ILayer", "IConstantLayer", "IConvolutionLayer"),
    "loaded": ("ICudaEngine",),
    "network": ("INetworkDefinition",),
    "parser": ("OnnxParser",),
    "parser_refitter": ("OnnxParserRefitter",),
    "profile": ("IOptimizationProfile",),
    "reader": ("ILayer",),
    "refitter": ("Refitter",),
    "runtime": ("Runtime",),
    "runtime_config": ("IRuntimeConfig",),
    "tensor": ("ITensor",),
}
"""Variables (``x``, ``_x``, ``self.x`` or ``self._x``) that hold a vendor's object, and its class; "" is the module."""

GIVES = {"get_input": "ITensor", "get_output": "ITensor", "get_layer": "ILayer"}
"""Methods whose result is used without a name, and what it is."""

BASES = {
    "make_logger": ("ILogger", {"log", "__init__"}),
    "make_monitor": ("IProgressMonitor", {"phase_start", "phase_finish", "step_complete", "__init__"}),
}
"""Vendor classes that the adapter derives from, by the function that does, with the methods it overrides."""


def touched_names() -> set[str]:
    """``Class.member``, or ``Name`` of the module, for every vendor name in the adapter; ``A.x|B.x`` is either."""
    names = {f"{base}.{method}" for base, methods in BASES.values() for method in methods}
    for path in SOURCES:
        for node, typed in _attributes(_parse(path), frozenset()):
            names.update(_names(node, typed))
    return names


def unclassified(plain: set[str]) -> dict[str, set[str]]:
    """Untyped variables whose attributes are used and that are neither in VENDOR nor in ``plain``, per file.

    Untyped are parameters annotated ``Any`` and whatever a vendor's method gave.
    """
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        tree = _parse(path)
        used = {_receiver(node.value) for node, _ in _attributes(tree, frozenset())}
        if left := (set(_untyped(tree)) & used) - set(VENDOR) - plain:
            found[path.name] = left
    return found


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _attributes(node: ast.AST, typed: frozenset[str]) -> Iterator[tuple[ast.Attribute, frozenset[str]]]:
    """Every attribute access, with the names around it whose annotation says that they are no vendor's.

    These are parameters, and in a class what its constructor takes, which it keeps under the same name.
    """
    if isinstance(node, ast.ClassDef):
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                typed = _typed(method, typed)
    if isinstance(node, ast.FunctionDef):
        typed = _typed(node, typed)
    if isinstance(node, ast.Attribute):
        yield node, typed
    for child in ast.iter_child_nodes(node):
        yield from _attributes(child, typed)


def _typed(function: ast.FunctionDef, typed: frozenset[str]) -> frozenset[str]:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    known = {each.arg for each in arguments if each.annotation is not None and not _is_any(each)}
    return (typed | known) - {each.arg for each in arguments if _is_any(each)}


def _untyped(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and _is_any(node):
            yield node.arg.lstrip("_")
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            function = node.value.func
            if isinstance(function, ast.Attribute) and _receiver(function.value) in VENDOR:
                yield from (name for target in node.targets if (name := _receiver(target)) is not None)


def _is_any(argument: ast.arg) -> bool:
    return isinstance(argument.annotation, ast.Name) and argument.annotation.id == "Any"


def _names(node: ast.Attribute, typed: frozenset[str]) -> Iterator[str]:
    """The vendor names that one attribute access touches."""
    receiver = _receiver(node.value)
    if receiver in VENDOR and receiver is not None and receiver not in typed:
        yield "|".join(f"{owner}.{node.attr}".lstrip(".") for owner in VENDOR[receiver])
    elif isinstance(node.value, ast.Attribute) and _receiver(node.value.value) == "library":
        yield f"{node.value.attr}.{node.attr}"  # library.BuilderFlag.REFIT
    elif (
        isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and (owner := GIVES.get(node.value.func.attr)) is not None
    ):
        yield f"{owner}.{node.attr}"


def _receiver(node: ast.expr) -> str | None:
    """``x`` for ``x``, ``_x``, ``self.x`` and ``self._x``."""
    if isinstance(node, ast.Name):
        return node.id.lstrip("_")
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "lane"):
        return node.attr.lstrip("_")
    return None
