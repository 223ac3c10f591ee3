"""Arrays that lie on the GPU already, taken without a copy: DLPack, or the CUDA array interface (version 2 or 3).

Both are contracts of the Python array world (dmlc.github.io/dlpack, "Python Specification"; Numba, "CUDA Array
Interface"). They differ in who waits for whom: DLPack makes the giver's work precede the stream that it is told; the
other tells a stream to wait for.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnest_edge.errors import InputError

_CUDA = 2  # kDLCUDA of dlpack.h
_CODES = {0: "i", 1: "u", 2: "f"}
_HINT = "Make it contiguous on the GPU that runs the engine."


@dataclass(frozen=True)
class DeviceArray:
    """Memory of somebody else's on the GPU.

    Attributes:
        address: of its first element.
        shape: its shape; it is C-contiguous.
        dtype: its type.
        follow: handle of a stream whose work so far must come first, or None.
        owner: keeps the memory.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    follow: int | None
    owner: Any


class _Tensor(ctypes.Structure):
    """``DLTensor`` of dlpack.h, which ``DLManagedTensor`` begins with."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def is_device_array(array: Any) -> bool:
    """Whether this lies on a GPU, by its own account."""
    return _speaks_dlpack(array) or hasattr(array, "__cuda_array_interface__")


def open_device_array(array: Any, stream: int) -> DeviceArray:
    """Take a device array; call it in the thread that made the array.

    Args:
        array: something with ``__dlpack__`` on a CUDA device, or with ``__cuda_array_interface__``.
        stream: handle of the stream that will read it.

    Raises:
        InputError: it is not contiguous, of no plain type, or on another GPU.
    """
    return _from_dlpack(array, stream) if _speaks_dlpack(array) else _from_interface(array)


def _speaks_dlpack(array: Any) -> bool:
    return hasattr(array, "__dlpack__") and array.__dlpack_device__()[0] == _CUDA


def _from_dlpack(array: Any, stream: int) -> DeviceArray:
    capsule = array.__dlpack__(stream=stream)  # not consumed: when it goes, it gives the memory back itself
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    tensor = ctypes.cast(get_pointer(capsule, b"dltensor"), ctypes.POINTER(_Tensor)).contents
    if array.__dlpack_device__()[1] != 0:
        raise InputError(f"this array lies on GPU {array.__dlpack_device__()[1]}, and the engine on GPU 0", hint=_HINT)
    if tensor.lanes != 1 or tensor.code not in _CODES:
        raise InputError("this array's elements are of no plain type")
    shape = tuple(tensor.shape[: tensor.ndim])
    dtype = np.dtype(f"{_CODES[tensor.code]}{tensor.bits // 8}")
    strides = tuple(dtype.itemsize * step for step in tensor.strides[: tensor.ndim]) if tensor.strides else None
    _check_contiguous(shape, dtype, strides)
    return DeviceArray((tensor.data or 0) + tensor.byte_offset, shape, dtype, None, (array, capsule))


def _from_interface(array: Any) -> DeviceArray:
    interface = array.__cuda_array_interface__
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    _check_contiguous(shape, dtype, interface.get("strides"))
    return DeviceArray(int(interface["data"][0]), shape, dtype, interface.get("stream"), array)


def _check_contiguous(shape: tuple[int, ...], dtype: np.dtype[Any], strides: tuple[int, ...] | None) -> None:
    expected = [dtype.itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    if strides is not None and any(
        size > 1 and given != wanted for size, given, wanted in zip(shape, strides, expected, strict=True)
    ):
        raise InputError(f"this array of shape {shape} is not contiguous (strides {tuple(strides)})", hint=_HINT)
