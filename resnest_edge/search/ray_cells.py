"""Cells of a sweep on a Ray cluster: one worker a node, which holds all of the node's CPUs and GPUs while it lives.

Ray counts resources and does not fence them: what runs on a node outside this Ray cluster still disturbs its timings,
and rows of different nodes are comparable only where the nodes are equal. Every row names its node.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from resnest_edge.errors import UnavailableError
from resnest_edge.search.sweep import Cell, Settings, Work
from resnest_edge.search.sweep_cell import BUG, failed_row, run_cell
from resnest_edge.search.sweep_journal import SweepRow
from resnest_edge.spec import Target

MISSING = 3
_GPU_TARGETS = (Target.TENSORRT, Target.TENSORRT_RTX)


@dataclass
class _Node:
    """One machine of the cluster, and the worker on it."""

    name: str
    identity: str
    cpus: float
    gpus: float
    worker: Any = None

    def takes(self, cell: Cell) -> bool:
        """Whether a cell can run here: a GPU's runtime needs one."""
        return cell.target not in _GPU_TARGETS or self.gpus > 0


class RayCells:
    """A ``Runner`` of :mod:`resnest_edge.search.sweep` on a cluster.

    Args:
        address: of the cluster's head, ``auto`` for the one that runs here; None starts one on this machine alone.
        work: what is done with a cell; a module-level function, because the nodes import it.
    """

    def __init__(self, address: str | None = None, work: Work = run_cell) -> None:
        self._address, self._work = address, work

    def run(self, cells: Sequence[Cell], settings: Settings) -> Iterator[SweepRow]:
        """One row for each cell, as each is done.

        Raises:
            UnavailableError: Ray is not installed, or the cluster does not answer.
        """
        ray = _import_ray()
        probe(self._address)
        with _connected(ray, self._address):
            yield from _spread(ray, _nodes(ray), list(cells), settings, self._work)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing here sends telemetry
    try:
        import ray
    except ModuleNotFoundError as exc:
        raise UnavailableError("Ray is not installed", hint="Install it with: pip install 'resnest-edge[ray]'") from exc
    return ray


def probe(address: str | None, seconds: float = 5.0) -> None:
    """See whether anything listens where the cluster should be: Ray itself would try for minutes.

    Raises:
        UnavailableError: nothing does, or the address is none.
    """
    if address in (None, "auto", "local"):
        return
    host, _, port = str(address).removeprefix("ray://").rpartition(":")
    hint = "Give HOST:PORT of the cluster's head, which `ray start --head` prints, or auto."
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise UnavailableError("this is no address of a Ray cluster", where=address, hint=hint)
    try:
        socket.create_connection((host.strip("[]"), int(port)), seconds).close()
    except OSError as exc:
        raise UnavailableError(f"no Ray cluster answers ({exc})", where=address, hint=hint) from exc


@contextlib.contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    options = {"address": address} if address else {"include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as exc:
        where = address or "this machine"
        hint = "Is it running? `ray status` tells."
        raise UnavailableError(f"no Ray cluster answers ({exc})", where=where, hint=hint) from exc
    try:
        yield
    finally:
        ray.shutdown()


def _nodes(ray: Any) -> list[_Node]:
    """The living machines of the cluster that have a CPU to give."""
    return [
        _Node(
            str(node["NodeManagerHostname"]),
            str(node["NodeID"]),
            float(node["Resources"]["CPU"]),
            float(node["Resources"].get("GPU", 0.0)),
        )
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0.0) >= 1
    ]


def _worker(ray: Any, node: _Node, work: Work) -> Any:
    """A process on one node that holds all its CPUs and GPUs, so that Ray places nothing beside it."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    kind = ray.remote(CellWorker).options(
        num_cpus=node.cpus,
        num_gpus=node.gpus,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node.identity, soft=False),
    )
    return kind.remote(work)


class CellWorker:
    """What runs on a node."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def run(self, cell: Cell, settings: Settings) -> SweepRow:
        """One cell."""
        return self._work(cell, settings)


def _spread(ray: Any, nodes: list[_Node], rest: list[Cell], settings: Settings, work: Work) -> Iterator[SweepRow]:
    """Give every idle node the next cell that it can run, until none is left."""
    running: dict[Any, tuple[_Node, Cell]] = {}
    for cell in [cell for cell in rest if not any(node.takes(cell) for node in nodes)]:
        rest.remove(cell)
        yield failed_row(cell, "no node of the Ray cluster has a GPU", MISSING, node="–")
    while rest or running:
        busy = {node.identity for node, _ in running.values()}
        for node in (node for node in nodes if node.identity not in busy):
            following = next((cell for cell in rest if node.takes(cell)), None)
            if following is not None:
                rest.remove(following)
                node.worker = node.worker or _worker(ray, node, work)
                running[node.worker.run.remote(following, settings)] = (node, following)
        (done, *_), _ = ray.wait(list(running), num_returns=1)
        node, cell = running.pop(done)
        yield _result(ray, done, node, cell)


def _result(ray: Any, done: Any, node: _Node, cell: Cell) -> SweepRow:
    """The row of a cell; where its worker or node is lost, a row that says so, and the next cell gets a new worker."""
    try:
        row: SweepRow = ray.get(done)
    except ray.exceptions.RayError as exc:
        node.worker = None
        return failed_row(cell, f"its Ray worker was lost ({type(exc).__name__})", BUG, node=node.name)
    return row
