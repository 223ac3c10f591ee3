"""How memory and cores are divided, and that running ahead keeps the order."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from resnest_edge.backends.onnxruntime import GraphRunner
from resnest_edge.graph.model import INPUT, LOGITS, to_bytes
from resnest_edge.pipeline.effort import Effort, groups_within, image_bytes, plan_effort, release_memory, run_ahead
from tests.support.tiny import CLASSES, IMAGE_SIZE, tiny_core

MIB = 1 << 20


def graph_of(floats: int | None) -> ir.Model:
    """A graph whose one tensor has so many floats an image, or a shape that nobody knows."""
    shape = None if floats is None else ir.Shape(["batch", floats])
    value = ir.Value(name="x", shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
    return ir.Model(ir.Graph([value], [], nodes=[], opset_imports={"": 20}), ir_version=10)


@pytest.mark.parametrize(
    ("mib", "only", "images", "cores", "expected"),
    [
        (1, None, 512, 2, Effort(128, 2, 1)),
        (1, None, 10, 2, Effort(10, 2, 1)),
        (100, None, 512, 2, Effort(1, 2, 1)),
        (100, None, 512, 64, Effort(1, 5, 12)),
        (1500, None, 512, 16, Effort(1, 1, 16)),
        (100, 4, 512, 8, Effort(4, 1, 8)),
        (None, None, 512, 8, Effort(1, 4, 2)),
    ],
)
def test_memory_decides_the_batch_and_how_many_run_at_once(
    mib: int | None, only: int | None, images: int, cores: int, expected: Effort
) -> None:
    core = graph_of(None if mib is None else mib * MIB // 4)
    assert plan_effort(core, ["x"], only_batch=only, images=images, cores=cores) == expected


@given(st.integers(1, 1 << 33), st.integers(1, 5000), st.integers(1, 256))
def test_every_plan_stays_within_memory_and_cores(floats: int, images: int, cores: int) -> None:
    found = plan_effort(graph_of(floats), ["x"], only_batch=None, images=images, cores=cores)
    assert 1 <= found.batch <= images and found.workers * found.threads <= cores
    if found.workers > 1:
        assert found.workers * found.batch * 4 * floats <= 512 * MIB
    if found.batch > 1:
        assert found.batch * 4 * floats <= 128 * MIB
    alone = plan_effort(graph_of(floats), ["x"], only_batch=None, images=images, cores=1)
    assert alone.batch == found.batch  # the machine does not decide the bits


def test_bytes_are_those_of_the_tensors() -> None:
    core = tiny_core().core
    names = [INPUT, LOGITS, *(node.outputs[0].name or "" for node in core.graph if node.op_type == "Relu")]
    model = core.clone()
    values = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.extend(values[name] for name in names[2:])
    images = np.zeros((3, 3, IMAGE_SIZE, IMAGE_SIZE), np.float32)
    found = GraphRunner(to_bytes(model), names[1:])(images)
    assert len(names) > 4 and found[0].shape == (3, CLASSES)
    assert image_bytes(core, names) == (images.nbytes + sum(value.nbytes for value in found)) // 3
    values = {value.name: value for node in core.graph for value in node.outputs}
    values[names[2]].shape = None
    try:
        assert image_bytes(core, names[2:3]) == 128 * MIB and image_bytes(core, names[2:3], 5) == 5
    finally:
        values[names[2]].shape = ir.Shape(["n", *found[1].shape[1:]])


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_little_is_taken_ahead(workers: int) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(12):
            taken.append(number)
            yield number

    def run(number: int) -> int:
        time.sleep(0.01 if number % 3 == 0 else 0)
        return number * number

    found = []
    for square in run_ahead(run, numbers(), workers):
        found.append(square)
        assert len(taken) <= len(found) + workers + 1
    assert found == [number * number for number in range(12)]


def test_an_error_comes_in_its_place_and_no_thread_is_left() -> None:
    def run(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    found = run_ahead(run, range(9), 3)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(found)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("run_")] == []


def test_numpy_computes_with_the_threads_given_meanwhile() -> None:
    def blas_threads(_: int) -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    before = blas_threads(0)
    assert list(run_ahead(blas_threads, range(3), 2)) == [{1}] * 3
    assert list(run_ahead(blas_threads, range(3), 1, threads=2)) == [{2}] * 3
    assert blas_threads(0) == before


def test_what_only_holds_itself_is_released() -> None:
    class Node:
        itself: Node

    node = Node()
    node.itself = node
    seen = weakref.ref(node)
    del node
    release_memory()
    assert seen() is None


@given(st.dictionaries(st.integers(), st.integers(0, 30), max_size=12), st.integers(1, 40))
def test_runs_keep_the_order_and_the_budget(sizes: dict[int, int], budget: int) -> None:
    runs = groups_within(sizes, budget)
    assert [key for run in runs for key in run] == list(sizes)
    assert all(len(run) == 1 or sum(sizes[key] for key in run) <= budget for run in runs)
    joined = [sum(sizes[key] for key in run) + sizes[after[0]] for run, after in pairwise(runs)]
    assert all(size > budget for size in joined)
