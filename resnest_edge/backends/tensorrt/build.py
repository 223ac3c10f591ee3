"""From a typed ONNX graph to a serialised engine: parse, walk, configure, build."""

from __future__ import annotations

import re
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnest_edge.backends.base import BuildOptions
from resnest_edge.backends.tensorrt.flavours import Flavour
from resnest_edge.backends.tensorrt.library import Messages, load_library, make_logger, make_monitor
from resnest_edge.backends.tensorrt.walk import Account, walk_network
from resnest_edge.backends.tensorrt.zero_points import check_zero_points
from resnest_edge.errors import GraphError, ResnestEdgeError, UnavailableError, UsageError
from resnest_edge.spec import GraphInfo, InputFormat, Precision, QdqStyle

CURRENT = "current"
"""Compute capability that stands for the GPU in this machine."""

_MIB = 1 << 20
_POLL_S = 0.2

# The runtime calls its logger with a lock of its own held, and takes that lock to free a builder. Freed by another
# thread, or by the garbage collector from within the logger, a builder would wait for ever. So there is one build at a
# time, and everything of it is freed before the next.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Plan:
    """A built engine.

    Attributes:
        data: the serialised engine.
        account: its layers.
        settings: what the builder's configuration reports.
        warnings: what the runtime warned of, and how often.
    """

    data: bytes
    account: Account
    settings: dict[str, Any]
    warnings: dict[str, int]


def check_request(flavour: Flavour, info: GraphInfo, options: BuildOptions) -> None:
    """Refuse what this flavour does not build, without importing it.

    Raises:
        UsageError: a Q/DQ style other than ``portable``, or an option out of range or not for this flavour.
    """
    if info.style not in (None, QdqStyle.PORTABLE):
        raise UsageError(
            f"{flavour.product} quantizes to int8 with zero point 0, and this graph is in the {info.style} Q/DQ style",
            hint="Export it for this target: --target tensorrt or tensorrt-rtx.",
        )
    if options.workspace_mib is not None and options.workspace_mib < 1:
        raise UsageError(
            f"a workspace of {options.workspace_mib} MiB is none", hint="Give at least 1, or leave it out."
        )
    if options.optimization_level is not None and not 0 <= options.optimization_level <= 5:
        raise UsageError(f"optimisation level {options.optimization_level} is not known", hint="Use 0 to 5.")
    capabilities = options.compute_capabilities
    if capabilities and not flavour.names_gpus:
        raise UsageError(
            f"{flavour.product} builds for the GPU it runs on, so no compute capability can be named",
            hint="Leave --compute-capability out, or use --target tensorrt-rtx.",
        )
    if len(set(capabilities)) < len(capabilities):
        raise UsageError("name each compute capability once")
    if CURRENT in capabilities and len(capabilities) > 1:
        raise UsageError(f"compute capability {CURRENT!r} cannot be combined with others")


def build_plan(flavour: Flavour, graph: Path, info: GraphInfo, options: BuildOptions) -> Plan:
    """Build a typed graph; Ctrl-C ends it after the builder's current step.

    Raises:
        UsageError: as :func:`check_request`, or a compute capability this version does not know.
        UnavailableError: the runtime is not here, or does not start on this machine.
        GraphError: the graph cannot be parsed or built, or is not what ``info`` says.
    """
    check_request(flavour, info, options)
    library = load_library(flavour)
    stop = threading.Event()
    build = _Build(flavour, library, graph, info, options, stop)
    # In a thread of its own, because a KeyboardInterrupt inside one of the runtime's callbacks would end the process:
    # Python raises it in the main thread only, which waits here.
    with ThreadPoolExecutor(1, thread_name_prefix="tensorrt-build") as worker:
        try:
            future = worker.submit(_run_alone, build)
            while not wait([future], timeout=_POLL_S).done:
                pass  # a signal that comes just before a wait begins is only seen when that wait ends
            return future.result()
        finally:
            stop.set()


def _run_alone(build: _Build) -> Plan:
    with _ONE_AT_A_TIME:
        try:
            return build.run()
        finally:
            traceback.clear_frames(sys.exc_info()[2])  # an error's frames would keep the builder


class _Build:
    def __init__(
        self,
        flavour: Flavour,
        library: Any,
        graph: Path,
        info: GraphInfo,
        options: BuildOptions,
        stop: threading.Event,
    ) -> None:
        self._flavour, self._library = flavour, library
        self._graph, self._info, self._options = graph, info, options
        self._messages = Messages()
        self._logger = make_logger(library, self._messages)
        self._monitor = make_monitor(library, stop)

    def run(self) -> Plan:
        capabilities = [_capability(self._library, text) for text in self._options.compute_capabilities]
        builder = self._make_builder()
        network = builder.create_network(1 << int(self._library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = self._parse(network)  # owns the weights, so it has to live until the engine is built
        self._check_interface(network)
        account = walk_network(self._library, network, self._info)
        config = self._configure(builder, network, capabilities)
        plan = builder.build_serialized_network(network, config)
        del parser
        if plan is None:
            raise self._failure()
        return Plan(bytes(plan), account, self._settings(config), dict(self._messages.warnings))

    def _make_builder(self) -> Any:
        try:
            return self._library.Builder(self._logger)
        except (TypeError, RuntimeError) as exc:  # the bindings' words for a null pointer
            reason = self._messages.errors[-1] if self._messages.errors else str(exc)
            raise UnavailableError(
                f"{self._flavour.product} does not start on this machine ({_plain(reason)})",
                hint="It builds on the machine that runs the engine: check the GPU and its driver with nvidia-smi.",
            ) from exc

    def _parse(self, network: Any) -> Any:
        try:
            model = self._graph.read_bytes()
        except OSError as exc:
            raise GraphError(f"cannot be read ({exc.strerror})", where=self._graph) from exc
        if self._info.precision is Precision.INT8:
            check_zero_points(model, self._graph)
        parser = self._library.OnnxParser(network, self._logger)
        if not parser.parse(model) or parser.num_errors or not network.num_layers:
            errors = [parser.get_error(index) for index in range(parser.num_errors)]
            reason = _parser_reason(errors[0]) if errors else "it holds no layers"
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise GraphError(f"{self._flavour.product} cannot read this graph: {reason}{more}", where=self._graph)
        return parser

    def _check_interface(self, network: Any) -> None:
        shapes = [tuple(network.get_input(index).shape) for index in range(network.num_inputs)]
        expected = _input_shape(self._info, -1)
        if shapes != [expected]:
            raise GraphError(
                f"its inputs are {shapes}, and {[expected]} was announced (batch {self._info.batch})", where=self._graph
            )

    def _configure(self, builder: Any, network: Any, capabilities: list[Any]) -> Any:
        options, config = self._options, builder.create_builder_config()
        config.progress_monitor = self._monitor
        config.clear_flag(self._library.BuilderFlag.TF32)  # on by default: FP32 with ten bits of mantissa
        if options.workspace_mib is not None:
            config.set_memory_pool_limit(self._library.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
        if options.optimization_level is not None:
            config.builder_optimization_level = options.optimization_level
        if capabilities:
            config.num_compute_capabilities = len(capabilities)
            if not all(config.set_compute_capability(member, index) for index, member in enumerate(capabilities)):
                raise self._failure()
        batch = self._info.batch
        if not batch.fixed:
            profile = builder.create_optimization_profile()
            sizes = (batch.minimum, batch.optimum, batch.maximum)
            profile.set_shape(network.get_input(0).name, *(_input_shape(self._info, size) for size in sizes))
            if config.add_optimization_profile(profile) < 0:
                raise self._failure()
        return config

    def _settings(self, config: Any) -> dict[str, Any]:
        settings = {
            "workspace_mib": config.get_memory_pool_limit(self._library.MemoryPoolType.WORKSPACE) // _MIB,
            "optimization_level": config.builder_optimization_level,
        }
        if self._flavour.names_gpus:
            members = [config.get_compute_capability(index) for index in range(config.num_compute_capabilities)]
            settings["compute_capabilities"] = [_capability_text(member.name) for member in members]
        return settings

    def _failure(self) -> ResnestEdgeError:
        reason = "; ".join(dict.fromkeys(_plain(text) for text in self._messages.errors)) or "it gave no reason"
        if CURRENT in self._options.compute_capabilities and "cuda" in reason.lower():
            return UnavailableError(
                f"there is no GPU here whose compute capability could be taken ({reason})",
                hint="Name one, such as --compute-capability 8.9, or none for all from Ampere on.",
            )
        limited = self._options.workspace_mib and any(word in reason for word in ("OutOfMemory", "workspace"))
        hint = "Give a larger --workspace, or none." if limited else None
        return GraphError(f"{self._flavour.product} cannot build this graph ({reason})", where=self._graph, hint=hint)


def _input_shape(info: GraphInfo, batch: int) -> tuple[int, ...]:
    """Shape of ``images``; ``batch`` stands where the graph leaves it open."""
    first, side = info.batch.minimum if info.batch.fixed else batch, info.image_size
    return (first, side, side, 3) if info.input_format is InputFormat.UINT8_NHWC else (first, 3, side, side)


def _capability(library: Any, text: str) -> Any:
    """The vendor's member for ``8.9`` or ``current``.

    Raises:
        UsageError: this version does not build for it, naming those it does.
    """
    members = {_capability_text(name): value for name, value in library.ComputeCapability.__members__.items()}
    members.pop("none", None)
    if text not in members:
        known = ", ".join(members)
        raise UsageError(f"compute capability {text!r} is not one this version builds for", hint=f"Use {known}.")
    return members[text]


def _capability_text(name: str) -> str:
    """``SM89`` as ``8.9``; the others in lower case."""
    return re.sub(r"^sm(\d+)(\d)$", r"\1.\2", name.lower())


def _parser_reason(error: Any) -> str:
    """Operator, node and reason; the parser's own text is sometimes no more than a failed C++ condition."""
    node = " ".join(part for part in (error.node_operator(), error.node_name()) if part)
    text = error.desc().removeprefix("Assertion failed: ")
    if "Plugin not found" in text:
        text = "it does not know this operator"
    elif text == "false":
        text = error.code().name.lower().replace("_", " ")
    return f"{node}: {_plain(text)}" if node else _plain(text)


def _plain(text: str) -> str:
    """A vendor's message without the places in its own source."""
    text = re.sub(r"^(\[\S+\]|\w+::\w+:) ", "", text.strip())
    text = re.sub(r"\(In \w+ at \S+:\d+ (\(.*\))\)$", r"\1", text)
    return re.sub(r" In \w+ at \S+:\d+\)$", ")", text)
