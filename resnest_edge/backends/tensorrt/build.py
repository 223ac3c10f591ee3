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
from resnest_edge.backends.tensorrt.configure import Configuration
from resnest_edge.backends.tensorrt.flavours import Flavour
from resnest_edge.backends.tensorrt.library import Messages, load_library, make_logger, make_monitor
from resnest_edge.backends.tensorrt.walk import Account, walk_network
from resnest_edge.backends.tensorrt.zero_points import check_zero_points
from resnest_edge.errors import GraphError, ResnestEdgeError, UnavailableError
from resnest_edge.spec import GraphInfo, InputFormat, Precision

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


def build_plan(flavour: Flavour, graph: Path, info: GraphInfo, options: BuildOptions) -> Plan:
    """Build a typed graph for a request that was checked; Ctrl-C ends it after the builder's current step.

    Raises:
        UsageError: an option that this version does not have.
        UnavailableError: the runtime is not here, or does not start on this machine.
        GraphError: the graph cannot be parsed or built, or is not what ``info`` says.
    """
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
        self._monitor = make_monitor(library, stop, options.progress)

    def run(self) -> Plan:
        builder = self._make_builder()
        network = builder.create_network(1 << int(self._library.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        configuration = Configuration(self._flavour, self._library, builder, self._options, self._messages)
        parser = self._parse(network)  # owns the weights, so it has to live until the engine is built
        self._check_interface(network)
        account = walk_network(self._library, network, self._info)
        self._configure(configuration, builder, network)
        plan = builder.build_serialized_network(network, configuration.config)
        del parser
        if plan is None:
            raise self._failure()
        configuration.write_cache()
        return Plan(bytes(plan), account, configuration.settings(), dict(self._messages.warnings))

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
        expected = input_shape(self._info, -1)
        if shapes != [expected]:
            raise GraphError(
                f"its inputs are {shapes}, and {[expected]} was announced (batch {self._info.batch})", where=self._graph
            )

    def _configure(self, configuration: Configuration, builder: Any, network: Any) -> None:
        config, batch = configuration.config, self._info.batch
        config.progress_monitor = self._monitor
        if not configuration.name_gpus():
            raise self._failure()
        configuration.use_dla(builder, network, self._info)
        configuration.read_cache()
        if not batch.fixed:
            profile = builder.create_optimization_profile()
            sizes = (batch.minimum, batch.optimum, batch.maximum)
            profile.set_shape(network.get_input(0).name, *(input_shape(self._info, size) for size in sizes))
            if config.add_optimization_profile(profile) < 0:
                raise self._failure()

    def _failure(self) -> ResnestEdgeError:
        reason = "; ".join(dict.fromkeys(_plain(text) for text in self._messages.errors)) or "it gave no reason"
        limited = self._options.workspace_mib and any(word in reason for word in ("OutOfMemory", "workspace"))
        hint = "Give a larger --workspace, or none." if limited else None
        if self._flavour.names_gpus and (self._options.refittable or self._options.stripped) and "CUDA" in reason:
            hint = "Refittable and stripped engines are built on a machine with a GPU."  # seen with 1.7.1
        return GraphError(f"{self._flavour.product} cannot build this graph ({reason})", where=self._graph, hint=hint)


def input_shape(info: GraphInfo, batch: int) -> tuple[int, ...]:
    """Shape of ``images``; ``batch`` stands where the graph leaves it open."""
    first, side = info.batch.minimum if info.batch.fixed else batch, info.image_size
    return (first, side, side, 3) if info.input_format is InputFormat.UINT8_NHWC else (first, 3, side, side)


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
