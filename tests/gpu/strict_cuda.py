"""The part of the stand-in for CuPy that is no arithmetic: its names, devices, memory, streams, errors.

There is no GPU behind it. What it models are the rules that a program can break without noticing on a
fast machine:

- A copy that is queued on a stream of its own has not happened yet, and what is recorded in a graph has not
  happened at all: strict_streams.py.
- Device memory is finite: `MemoryPool.set_limit` says how much there is, and who asks for more gets
  `OutOfMemoryError`, a MemoryError, as from CuPy.
"""

import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minicnn.kernels import special
from tests.gpu.strict_streams import CUDARuntimeError, Event, Stream, Traffic, get_elapsed_time

BLOCK = 512
"""Bytes that CuPy's memory pool rounds sizes up to."""


def _words(text: str) -> list[str]:
    return text.split()


FUNCTIONS = _words(
    """
    abs absolute add all allclose any arange argmax argmin argsort argwhere array
    array_equal ascontiguousarray asfortranarray bincount bitwise_and bitwise_or bitwise_xor
    broadcast_arrays broadcast_to ceil clip concatenate copyto cos count_nonzero cumsum diag
    divide dot einsum empty empty_like equal exp expand_dims expm1 eye flip float_power
    floor floor_divide full full_like greater greater_equal invert isfinite isinf isnan less
    less_equal linspace log log1p log2 logical_and logical_not logical_or logical_xor matmul
    max maximum mean min minimum mod moveaxis multiply nan_to_num negative nonzero not_equal
    ones ones_like outer pad permute_dims power prod ravel reciprocal remainder repeat
    reshape right_shift roll rollaxis rint sign sin split sqrt square squeeze stack std
    subtract sum swapaxes take take_along_axis tan tanh tensordot tile transpose tri tril
    triu true_divide unravel_index var vstack where zeros zeros_like
    """
)
"""The functions of CuPy that the stand-in has. CuPy has more; add a name that it has where one is missing."""

NAMES = _words(
    """
    bool_ dtype finfo float16 float32 float64 iinfo inf int16 int32 int64 int8 intp nan
    newaxis pi promote_types result_type uint16 uint32 uint64 uint8
    """
)
"""What CuPy takes over from NumPy as it is."""

METHODS = _words(
    """
    all any argmax argmin argsort astype clip cumsum dot fill max mean min prod ravel repeat
    reshape squeeze std sum swapaxes take transpose var view copy flatten
    """
)

SYNCS = {"argwhere", "nonzero", "allclose", "array_equal", "bincount"}
"""Functions whose result has a size, or is a number, that the host has to ask for."""

PRODUCTS = {"dot", "matmul", "__matmul__", "__rmatmul__", "tensordot", "einsum"}
"""What CuPy calls cuBLAS for, which it refuses in a capture."""

_BINARY = _words("add sub mul truediv floordiv mod pow and or xor lshift rshift")
_COMPARING = _words("lt le gt ge eq ne neg pos abs invert matmul rmatmul")
OPERATORS = [f"__{kind}{name}__" for name in _BINARY for kind in ("", "r", "i")]
OPERATORS += [f"__{name}__" for name in _COMPARING]

CHANGES = {"fill", "copyto", *(f"__i{name}__" for name in _BINARY)}
"""What changes its first argument, and returns nothing new."""

KEEPS_ORDER = {
    "astype",
    "empty_like",
    "full_like",
    "ones_like",
    "zeros_like",
    "asfortranarray",
    "copy",
}
"""What makes a new array in the memory order of another one; all other results are in row-major order."""

ATTRIBUTES = ("dtype", "itemsize", "nbytes", "ndim", "shape", "size", "strides")


class OutOfMemoryError(MemoryError):
    """What CuPy's memory pool raises."""


class MemoryPool:
    """Counts the bytes of living arrays, and refuses more than the limit."""

    def __init__(self) -> None:
        self._used = self._cached = 0
        self._limit: int | None = None

    def malloc(self, nbytes: int) -> None:
        """What `using_allocator` is given; the stand-in itself calls `take`."""
        raise NotImplementedError("the stand-in's arrays are NumPy's")

    def take(self, nbytes: int) -> int:
        """Take `nbytes`, rounded up; return how many it took."""
        size = -(-nbytes // BLOCK) * BLOCK
        if self._limit is not None and self._used + size > self._limit:
            raise OutOfMemoryError(
                f"Out of memory allocating {size:,} bytes (allocated so far: {self._used:,} bytes, "
                f"limit set to: {self._limit:,} bytes)."
            )
        self._used += size
        self._cached = max(self._cached - size, 0)
        return size

    def give_back(self, size: int) -> None:
        """Keep the memory of an array that is gone for the next one."""
        self._used -= size
        self._cached += size

    def used_bytes(self) -> int:
        return self._used

    def free_bytes(self) -> int:
        return self._cached

    def total_bytes(self) -> int:
        return self._used + self._cached

    def free_all_blocks(self) -> None:
        self._cached = 0

    def set_limit(self, size: int | None = None) -> None:
        """Say how many bytes there are; 0 or None for no limit, as in CuPy."""
        self._limit = size or None


ATTRIBUTES_OF_A_CARD = {
    "ComputeCapabilityMajor": 9,
    "ComputeCapabilityMinor": 0,
    "MaxSharedMemoryPerBlock": 48 * 2**10,
    "MaxSharedMemoryPerBlockOptin": 227 * 2**10,
    "MaxThreadsPerBlock": 1024,
    "MultiProcessorCount": 4,
    "WarpSize": 32,
}
"""What a card of Hopper's kind says of itself, were it small."""


def alloc_pinned_memory(size: int) -> bytearray:
    """Return `size` bytes that NumPy sees through the buffer protocol, filled with what nobody should read."""
    return bytearray(b"\xab" * max(size, 1))


class Pointer:
    """Where an array begins, as the kernels and the copies of CuPy are told."""

    def __init__(self, array: Any):
        self.ptr = array._host.ctypes.data
        self.device = array.device
        self.device_id = array.device.id
        self.mem = self


class Flags:
    """What CuPy says about an array in memory; there is no `writeable`."""

    def __init__(self, array: Any):
        self.c_contiguous = array._host.flags.c_contiguous
        self.f_contiguous = array._host.flags.f_contiguous
        self.owndata = array.base is None


def cuda_namespace(devices: int | None, traffic: Traffic) -> types.ModuleType:
    """Make `cupy.cuda` for a machine with a number of GPUs; None: without a driver."""
    cuda = types.ModuleType("cupy.cuda")
    pools = [MemoryPool() for _ in range(devices or 0)]
    state = threading.local()

    def device_count() -> int:
        if devices is None:
            raise CUDARuntimeError()
        return devices

    class Device:
        """One GPU; `with Device(1):` makes it the current one."""

        attributes = ATTRIBUTES_OF_A_CARD.copy()

        def __init__(self, device: "int | Device | None" = None):
            self.id = current_device() if device is None else getattr(device, "id", device)
            self._outer: list[int] = []

        def __enter__(self) -> "Device":
            self._outer.append(current_device())
            self.use()
            return self

        def __exit__(self, *_: object) -> None:
            state.device = self._outer.pop()

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Device) and self.id == other.id

        __hash__ = None

        def use(self) -> None:
            if not 0 <= self.id < device_count():
                raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
            state.device = self.id

        def synchronize(self) -> None:
            traffic.wait("Device.synchronize")

    def current_device() -> int:
        if devices is None:
            raise CUDARuntimeError()
        return getattr(state, "device", 0)

    @contextmanager
    def using_allocator(allocator: Callable) -> Iterator[None]:
        outer = getattr(state, "pool", None)
        state.pool = allocator.__self__
        try:
            yield
        finally:
            state.pool = outer

    def pool_for(device: int) -> MemoryPool:
        """The pool that a new array is taken from: in a capture, one of its own, for the graph goes on using it."""
        pool = getattr(state, "pool", None)
        if pool is None and Stream.current().is_capturing():
            Stream.current().refuse("an allocation from the pool that everybody uses")
        return pools[device] if pool is None else pool

    runtime = types.ModuleType("cupy.cuda.runtime")
    runtime.CUDARuntimeError = CUDARuntimeError
    runtime.getDeviceCount = device_count
    runtime.getDevice = current_device
    runtime.getDeviceProperties = lambda i: {
        "name": b"Stand-in",
        "totalGlobalMem": 2**30,
        "multiProcessorCount": 4,
        "major": 9,
        "minor": 0,
    }
    runtime.driverGetVersion = lambda: 0 if devices is None else 13000
    runtime.runtimeGetVersion = lambda: 12090

    memory = types.ModuleType("cupy.cuda.memory")
    memory.OutOfMemoryError = OutOfMemoryError
    Stream.null = Stream(null=True)
    Stream.traffic = traffic
    Stream._local.__dict__.clear()
    cuda.__dict__.update(
        runtime=runtime,
        memory=memory,
        Device=Device,
        Stream=Stream,
        Event=Event,
        MemoryPool=MemoryPool,
        pools=pools,
        pool_for=pool_for,
        using_allocator=using_allocator,
        is_available=lambda: bool(devices),
        get_current_stream=Stream.current,
        get_elapsed_time=get_elapsed_time,
        alloc_pinned_memory=alloc_pinned_memory,
    )
    return cuda


def poison(array: np.ndarray) -> None:
    """Fill memory that nobody has written to with what nobody can use unnoticed."""
    array[...] = np.nan if array.dtype.kind == "f" else _largest(array.dtype)


def _largest(dtype: np.dtype) -> int | bool:
    return True if dtype.kind == "b" else np.iinfo(dtype).max


# --- what NumPy computes otherwise, or not at all ---


def take(a: np.ndarray, indices: Any, axis: int | None = None) -> np.ndarray:
    """See `numpy.take`; what is out of range is wrapped round."""
    return np.take(a, indices, axis, mode="wrap")


def take_along_axis(a: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    """See `numpy.take_along_axis`; what is out of range is wrapped round."""
    return np.take_along_axis(a, indices % max(a.shape[axis], 1), axis)


def erf(x: np.ndarray) -> np.ndarray:
    """See `scipy.special.erf`."""
    return special.erf(np.asarray(x))
