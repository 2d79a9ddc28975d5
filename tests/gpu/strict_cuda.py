"""The part of the stand-in for CuPy that is no arithmetic: its names, devices, memory, streams, errors.

There is no GPU behind it. What it models are the rules that a program can break without noticing on a
fast machine:

- A copy that is queued on a stream of its own has not happened yet. It happens when the host waits
  for that stream, or when the main stream waits for an event that was recorded after it. Until then
  the array holds NaN or the largest integers, and the copy will read what the host memory holds *then*.
- Device memory is finite: `MemoryPool.set_limit` says how much there is, and who asks for more gets
  `OutOfMemoryError`, a MemoryError, as from CuPy.
"""

import math
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.kernels import special

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


class CUDARuntimeError(RuntimeError):
    """What CuPy raises where the driver refuses something."""

    def __init__(self, text: str = "cudaErrorInsufficientDriver: CUDA driver version is too old"):
        super().__init__(text)


class OutOfMemoryError(MemoryError):
    """What CuPy's memory pool raises."""


class Traffic:
    """What passed between host and device: who waited for the device, and what was uploaded.

    Attributes:
        syncs: a word for each time the host waited for the device.
        uploads: a word for each copy from host memory to the device.
    """

    def __init__(self) -> None:
        self.syncs: list[str] = []
        self.uploads: list[str] = []

    def clear(self) -> None:
        """Start counting again."""
        self.syncs.clear()
        self.uploads.clear()


class MemoryPool:
    """Counts the bytes of living arrays, and refuses more than the limit."""

    def __init__(self) -> None:
        self._used = self._cached = 0
        self._limit: int | None = None

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


class Event:
    """A mark in a stream."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess=False):
        self._stream: Stream | None = None
        self._position = 0
        self.seconds = math.nan

    def record(self, stream: "Stream | None" = None) -> None:
        self._stream = Stream.current() if stream is None else stream
        self._position = self._stream.queued
        self.seconds = time.perf_counter()

    @property
    def done(self) -> bool:
        """Whether everything before the mark has happened."""
        return self._stream is None or self._stream.finished >= self._position

    def synchronize(self) -> None:
        Stream.traffic.syncs.append("Event.synchronize")
        self.happen()

    def happen(self) -> None:
        """Let everything before the mark happen."""
        if self._stream is not None:
            self._stream.run_until(self._position)


def get_elapsed_time(start: Event, end: Event) -> float:
    """Return the milliseconds between two events that have happened."""
    if not (start.done and end.done):
        raise CUDARuntimeError("cudaErrorNotReady: device not ready")
    return 1e3 * (end.seconds - start.seconds)


class Stream:
    """A queue of copies. The main stream's happen at once, another stream's when somebody waits for it."""

    traffic: Traffic
    null: "Stream"
    _local = threading.local()

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False):
        self.is_main = null
        self.queued = self.finished = 0
        self._waiting: list[Callable[[], None]] = []
        self._outer: list[Stream] = []

    @staticmethod
    def current() -> "Stream":
        return getattr(Stream._local, "stream", Stream.null)

    def __enter__(self) -> "Stream":
        self._outer.append(Stream.current())
        Stream._local.stream = self
        return self

    def __exit__(self, *_: object) -> None:
        Stream._local.stream = self._outer.pop()

    def use(self) -> "Stream":
        Stream._local.stream = self
        return self

    def queue(self, copy: Callable[[], None]) -> None:
        """Do `copy` when the stream gets to it."""
        self.queued += 1
        self._waiting.append(copy)
        if self.is_main:
            self.run_until(self.queued)

    def run_until(self, position: int) -> None:
        """Do what was queued up to `position`."""
        while self.finished < position:
            self._waiting.pop(0)()
            self.finished += 1

    def record(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let this stream go on only after the event; for the main stream, which never waits, now."""
        self.queue(event.happen)

    def synchronize(self) -> None:
        Stream.traffic.syncs.append("Stream.synchronize")
        self.run_until(self.queued)

    @property
    def done(self) -> bool:
        return self.finished == self.queued


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
            traffic.syncs.append("Device.synchronize")

        @property
        def mem_info(self) -> tuple[int, int]:
            total = 2**30
            return total - pools[self.id].total_bytes(), total

        @property
        def compute_capability(self) -> str:
            return "90"

    def current_device() -> int:
        if devices is None:
            raise CUDARuntimeError()
        return getattr(state, "device", 0)

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
        pools=pools,
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
