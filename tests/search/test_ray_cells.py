"""Cells on a Ray cluster: never two at once on a node, GPUs for what needs one, lost workers; and a real local Ray."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from resnest_edge.errors import UnavailableError
from resnest_edge.search import ray_cells
from resnest_edge.search.ray_cells import RayCells
from resnest_edge.search.sweep import Cell, Settings, make_cells
from resnest_edge.search.sweep_journal import SweepRow
from resnest_edge.spec import Form, Precision, Target
from tests.search.cells_at_work import measured, where
from tests.search.test_sweep import SETTINGS

BOTH = [Precision.FP32, Precision.INT8]


class LostError(Exception):
    pass


class FakeRay:
    """A cluster that finishes the oldest task at each wait, and refuses two at once on one node."""

    def __init__(self, nodes: list[dict[str, Any]], lose: frozenset[str] = frozenset()) -> None:
        self._nodes, self._lose = nodes, lose
        self.exceptions = types.SimpleNamespace(RayError=LostError)
        self.options: list[dict[str, Any]] = []
        self.busy: list[tuple[str, Callable[[], SweepRow]]] = []
        self.most_busy, self.open = 0, False

    def init(self, **_: Any) -> None:
        self.open = True

    def shutdown(self) -> None:
        self.open = False

    def nodes(self) -> list[dict[str, Any]]:
        return self._nodes

    def remote(self, kind: type) -> Any:
        return types.SimpleNamespace(options=lambda **given: self._kind(kind, given))

    def _kind(self, kind: type, given: dict[str, Any]) -> Any:
        self.options.append(given)
        node = given["scheduling_strategy"].node_id
        return types.SimpleNamespace(remote=lambda *arguments: self._actor(kind(*arguments), node))

    def _actor(self, worker: Any, node: str) -> Any:
        def start(cell: Cell, settings: Settings) -> tuple[str, Callable[[], SweepRow]]:
            assert node not in [place for place, _ in self.busy], "two cells at once on one node"

            def work() -> SweepRow:
                if cell.key in self._lose:
                    raise LostError
                row: SweepRow = worker.run(cell, settings)
                return row

            self.busy.append((node, work))
            self.most_busy = max(self.most_busy, len(self.busy))
            return self.busy[-1]

        return types.SimpleNamespace(run=types.SimpleNamespace(remote=start))

    def wait(self, tasks: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        assert num_returns == 1 and tasks
        first = next(task for task in self.busy if task in tasks)
        self.busy.remove(first)
        return [first], [task for task in tasks if task is not first]

    def get(self, task: tuple[str, Callable[[], SweepRow]]) -> SweepRow:
        return task[1]()


def node(name: str, cpus: float = 4, gpus: float = 0, alive: bool = True) -> dict[str, Any]:
    resources = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
    return {"NodeManagerHostname": name, "NodeID": name, "Alive": alive, "Resources": resources}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeRay], FakeRay]:
    def use(fake: FakeRay) -> FakeRay:
        strategies = types.ModuleType("ray.util.scheduling_strategies")
        strategies.NodeAffinitySchedulingStrategy = lambda node_id, soft: types.SimpleNamespace(  # type: ignore[attr-defined]
            node_id=node_id, soft=soft
        )
        monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))
        monkeypatch.setitem(sys.modules, "ray.util", types.ModuleType("ray.util"))
        monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
        monkeypatch.setattr(ray_cells, "_import_ray", lambda: fake)
        return fake

    return use


def cells(*targets: Target) -> list[Cell]:
    return make_cells(["resnest50", "resnest101"], [], [Form.SPLIT], targets or (Target.OPENVINO,), BOTH)


def test_every_node_runs_one_cell_at_a_time_and_holds_all_its_cpus(cluster: Callable[[FakeRay], FakeRay]) -> None:
    fake = cluster(FakeRay([node("a", 4), node("b", 16), node("dead", alive=False), node("none", 0)]))
    rows = list(RayCells(work=measured).run(cells(), SETTINGS))
    assert {row.key for row in rows} == {cell.key for cell in cells()}
    assert fake.most_busy == 2 and not fake.open
    assert [(options["num_cpus"], options["scheduling_strategy"].soft) for options in fake.options] == [
        (4.0, False),
        (16.0, False),
    ]


def test_a_gpus_runtime_goes_to_a_node_with_one(cluster: Callable[[FakeRay], FakeRay]) -> None:
    wanted = cells(Target.OPENVINO, Target.TENSORRT)
    cluster(FakeRay([node("cpu"), node("gpu", gpus=1)]))
    rows = list(RayCells(work=measured).run(wanted, SETTINGS))
    assert len(rows) == len(wanted) and not any(row.failed for row in rows)
    cluster(FakeRay([node("cpu")]))
    rows = list(RayCells(work=measured).run(wanted, SETTINGS))
    assert {row.target for row in rows if row.failed} == {"tensorrt"}
    assert {row.reason for row in rows if row.failed} == {"no node of the Ray cluster has a GPU"}
    assert sum(not row.failed for row in rows) == 4


def test_a_lost_worker_costs_one_cell(cluster: Callable[[FakeRay], FakeRay]) -> None:
    wanted = cells()
    fake = cluster(FakeRay([node("a")], lose=frozenset({wanted[1].key})))
    rows = list(RayCells(work=measured).run(wanted, SETTINGS))
    assert [row.key for row in rows if row.failed] == [wanted[1].key]
    assert "lost (LostError)" in next(row.reason or "" for row in rows if row.failed)
    assert len(fake.options) == 2  # a new worker took the cells after it


def test_a_missing_ray_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnavailableError, match=r"resnest-edge\[ray\]"):
        list(RayCells().run(cells(), SETTINGS))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_local_ray_runs_cells_in_a_process_of_its_own() -> None:
    pytest.importorskip("ray")
    import os

    wanted = cells()
    rows = list(RayCells(work=where).run(wanted, SETTINGS))
    assert {row.key for row in rows} == {cell.key for cell in wanted}
    assert len({row.node for row in rows}) == 1  # one node, one worker
    assert rows[0].node != str(os.getpid())


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nowhere", "host:port", "h:99999"])
def test_a_cluster_that_does_not_answer_is_said(cluster: Callable[[FakeRay], FakeRay], address: str) -> None:
    fake = cluster(FakeRay([node("a")]))
    with pytest.raises(UnavailableError, match="Ray cluster") as error:
        list(RayCells(address).run(cells(), SETTINGS))
    assert address in str(error.value)
    assert fake.options == []
