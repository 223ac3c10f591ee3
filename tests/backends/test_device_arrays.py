"""Arrays on the (fake) GPU, through DLPack and the CUDA array interface: read where they are, after what fills them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from resnest_edge.backends.tensorrt.device_array import is_device_array, open_device_array
from resnest_edge.errors import InputError
from tests.backends.fake_machine import CLASSES, World, pictures
from tests.backends.fake_tensorrt import answers


class Interface:
    """Memory with ``__cuda_array_interface__``, as Numba's and CuPy's arrays have it."""

    def __init__(self, array: npt.NDArray[Any], **changes: Any) -> None:
        self._array = array
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": None if array.flags.c_contiguous else array.strides,
            "version": 3,
            **changes,
        }


class DLPack:
    """Memory that a DLPack capsule describes, said to lie on a GPU, as PyTorch's tensors have it."""

    def __init__(self, array: npt.NDArray[Any], device: int = 0) -> None:
        self.array, self.device, self.asked = array, device, list[int | None]()

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.device

    def __dlpack__(self, *, stream: int | None = None) -> object:
        self.asked.append(stream)
        return self.array.__dlpack__()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


@pytest.mark.parametrize("wrap", [Interface, DLPack])
def test_it_is_described_as_it_is(wrap: type) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert is_device_array(wrap(array)) and not is_device_array(array)
    found = open_device_array(wrap(array), 7)
    assert (found.address, found.shape, found.dtype) == (array.ctypes.data, array.shape, array.dtype)
    part = open_device_array(wrap(array[1:]), 7)  # an offset into the memory
    assert (part.address, part.shape) == (array.ctypes.data + 48, (1, 3, 4))


@pytest.mark.parametrize(
    ("wrap", "view"),
    [
        (Interface, np.s_[:, ::2]),
        (Interface, np.s_[:, :, :3]),
        (Interface, np.s_[::-1]),
        (DLPack, np.s_[:, ::2]),
        (DLPack, np.s_[:, :, :3]),
    ],
)
def test_what_is_not_contiguous_is_refused(wrap: type, view: Any) -> None:
    with pytest.raises(InputError, match="not contiguous"):
        open_device_array(wrap(np.zeros((2, 4, 4), np.uint8)[view]), 7)


def test_strides_of_dimensions_of_one_do_not_matter() -> None:
    array = np.zeros((1, 4, 4), np.uint8)
    strides = (999, 4, 1)
    assert open_device_array(Interface(array, strides=strides), 7).shape == (1, 4, 4)


def test_another_gpu_and_other_types_are_refused() -> None:
    with pytest.raises(InputError, match="lies on GPU 1"):
        open_device_array(DLPack(np.zeros((2, 2), np.uint8), device=1), 7)
    with pytest.raises(InputError, match="no plain type"):
        open_device_array(DLPack(np.zeros((2, 2), np.complex64)), 7)


def test_dlpack_is_told_the_stream_that_reads_in_the_callers_thread(world: World) -> None:
    with world.load(batch=2) as session:
        given = DLPack(pictures(2))
        session.run(given)  # type: ignore[arg-type]  # a device array
        assert given.asked == list(world.runtime.streams)


@pytest.mark.parametrize("wrap", [Interface, DLPack])
def test_a_session_reads_it_in_place(wrap: type, world: World) -> None:
    """No copy in is made, no graph is used, and host arrays work as before in between."""
    with world.load(batch=2, streams=2) as session:
        for seed in range(4):
            images = pictures(2, seed)
            answer = session.run(wrap(images))
            assert np.array_equal(answer.logits, answers(images, CLASSES)[0])
        assert "h2d_ms" not in session.timings() and world.runtime.made["launch"] == 0
        for seed in range(4):
            images = pictures(2, seed)
            assert np.array_equal(session.run(images).logits, answers(images, CLASSES)[0])
        assert "h2d_ms" in session.timings() and world.runtime.made["launch"] == 4
    world.check_nothing_is_left()


def test_without_graphs_host_arrays_are_not_read_from_old_device_memory(world: World) -> None:
    world.runtime.capturable = False
    with world.load(batch=2) as session:
        session.run(Interface(pictures(2, 1)))  # type: ignore[arg-type]  # a device array
        world.library.failing = True
        future = session.submit(Interface(pictures(2, 2)))  # type: ignore[arg-type]
        assert future.exception() is not None
        world.library.failing = False
        images = pictures(2, 3)
        assert np.array_equal(session.run(images).logits, answers(images, CLASSES)[0])


@pytest.mark.parametrize("binding", ["cuda-python", "PyCUDA"])
def test_a_session_waits_for_the_stream_that_fills_the_array(binding: str, world: World) -> None:
    if binding == "PyCUDA":
        world.use_pycuda()
    images, memory = pictures(2), np.zeros((2, 8, 8, 3), np.uint8)
    with world.load(batch=2) as session:
        world.runtime.delay = 0.05
        _, theirs = world.runtime.cudaStreamCreateWithFlags(1)
        theirs.put(lambda: np.copyto(memory, images))
        answer = session.run(Interface(memory, stream=int(theirs)))  # type: ignore[arg-type]  # a device array
        assert np.array_equal(answer.logits, answers(images, CLASSES)[0])
        world.runtime.cudaStreamDestroy(theirs)


def test_a_wrong_shape_is_refused(world: World) -> None:
    with world.load(batch=2) as session, pytest.raises(InputError, match=r"takes \(2, 8, 8, 3\) uint8 at once"):
        session.run(Interface(pictures(3)))  # type: ignore[arg-type]  # a device array


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
def test_a_tensor_on_the_cpu_is_no_device_array() -> None:
    import torch

    assert not is_device_array(torch.zeros(2))
