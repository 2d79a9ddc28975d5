"""Devices and their array libraries.

An array on the CPU is a `numpy.ndarray`, an array on a GPU is a `cupy.ndarray`; both libraries
share one vocabulary. Code that works on either asks `xp_of(array)` for the library to call. CuPy is
optional: it is imported only when somebody names a CUDA device, and a missing package, driver or
card is reported in words.
"""

import threading
from collections.abc import Iterable
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from minicnn import deferred
from minicnn.kernels.arrays import Array, in_memory_order, inverse_order, xp_of

__all__ = [
    "Array",
    "as_dtype",
    "check_one_device",
    "cuda_is_available",
    "cuda_problem",
    "device",
    "device_of",
    "get_default_device",
    "gpu_named",
    "in_memory_order",
    "inverse_order",
    "is_array",
    "is_device_name",
    "library_of",
    "new_device",
    "number_like",
    "out_of_memory",
    "parse_device",
    "set_default_device",
    "to_device",
    "to_host",
    "xp_of",
]


class _State(threading.local):
    """Where new tensors are made, for each thread by itself."""

    default = "cpu"

    def __init__(self) -> None:
        self.outer: list[str] = []  # the defaults around each block entered, outermost first


_state = _State()


class device(str):  # noqa: N801 (PyTorch's name)
    """The name of a device: "cpu", "cuda" (the GPU in use, usually the first) or "cuda:1".

    It is a string, and wherever a device is asked for, a plain string will do. In a `with` block, new
    tensors and layers are made on the device.

    Args:
        type: "cpu", "cuda" or, with an index, "cuda:<index>".
        index: the number of the GPU, if `type` does not say it.

    Raises:
        ValueError: for any other name.
    """

    __slots__ = ()

    def __new__(cls, type: str, index: int | None = None) -> "device":
        name = str(type) if index is None else f"{type}:{index}"
        kind, _ = parse_device(name)
        return super().__new__(cls, "cpu" if kind == "cpu" else name)

    @property
    def type(self) -> str:
        """The kind: "cpu" or "cuda"."""
        return parse_device(self)[0]

    @property
    def index(self) -> int | None:
        """The number of the GPU; None for the CPU, and for "cuda"."""
        return int(self.partition(":")[2]) if ":" in self else None

    def __repr__(self) -> str:
        return f"device({str(self)!r})"

    def __enter__(self) -> "device":
        _state.outer.append(_state.default)
        _state.default = self
        return self

    def __exit__(self, *_: object) -> None:
        _state.default = _state.outer.pop()


def set_default_device(name: str) -> None:
    """Make new tensors and layers on this device, where nothing else is said.

    Raises:
        ValueError: for a device name that does not exist.
        RuntimeError: for a CUDA device that this machine cannot use, with the reason.
    """
    chosen = device(name)
    if chosen.type == "cuda":
        _cupy_for(chosen)
    _state.default = chosen


def get_default_device() -> device:
    """Return where new tensors are made: "cpu", unless `set_default_device` or a `with` block said otherwise."""
    return device(_state.default)


def new_device(name: str | None) -> str:
    """Return where to make a tensor whose maker said `name`; None stands for the default."""
    return _state.default if name is None else name


def device_of(array: Array) -> device:
    """Return where `array` lives: "cpu", or "cuda:0", "cuda:1", ... for a GPU array."""
    return _CPU if xp_of(array) is np else device("cuda", array.device.id)


def is_array(value: object) -> bool:
    """Whether `value` is an array of one of the backends."""
    return isinstance(value, np.ndarray) or xp_of(value) is not np


def cuda_is_available() -> bool:
    """Whether CuPy can be imported and sees a working GPU. Never raises."""
    return cuda_problem() is None


def cuda_problem() -> str | None:
    """Say in words what keeps this machine from using CUDA, or None where nothing does."""
    try:
        import cupy
    except Exception as error:  # a broken CuPy installation may raise anything
        return f"CuPy cannot be imported ({error}); install minicnn[cuda12] or minicnn[cuda13]"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # a missing driver raises CUDARuntimeError
        return (
            f"CuPy is installed, but no CUDA driver or GPU answers ({error}); look at what `nvidia-smi` "
            "says, and install or update NVIDIA's driver"
        )
    return None if count > 0 else "CuPy is installed, but this machine has no GPU"


def is_device_name(target: object) -> bool:
    """Whether `target` is the text that names a device, and not, say, a dtype."""
    return isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda")


def as_dtype(target: Any) -> np.dtype:
    """Return the dtype that `target` names.

    Raises:
        TypeError: for anything that is no dtype.
    """
    try:
        return np.dtype(target or "")
    except TypeError:
        raise TypeError(
            f'to: expected a device ("cpu", "cuda", "cuda:<index>") or a dtype such as "float32", got {target!r}'
        ) from None


def parse_device(name: str) -> tuple[str, int]:
    """Split "cpu", "cuda" or "cuda:1" into its kind and its index.

    Raises:
        ValueError: for any other text.
    """
    kind, colon, index = str(name).partition(":")
    if kind == "cpu" and index in ("", "0"):
        return "cpu", 0
    if kind == "cuda" and (index.isdecimal() or not colon):
        return "cuda", int(index or 0)
    raise ValueError(f'device: expected "cpu", "cuda" or "cuda:<index>", got {name!r}')


_CPU = device("cpu")


# --- moving arrays --------------------------------------------------------------------------------


def to_device(array: Array, name: str) -> Array:
    """Return `array` on a device, with its axes in the same order in memory; itself where it lives there.

    Raises:
        ValueError: for a device name that does not exist.
        RuntimeError: for a CUDA device that this machine cannot use, with the reason.
        MemoryError: where the device has no room for it.
    """
    if parse_device(name)[0] == "cpu":
        return array if xp_of(array) is np else to_host(array)
    cupy, target = gpu_named(name)
    if xp_of(array) is cupy and array.device == target:
        return array
    in_memory, order = in_memory_order(array)
    try:
        with target:
            moved = cupy.asarray(xp_of(array).ascontiguousarray(in_memory))
    except MemoryError as error:
        out_of_memory(f"to({str(name)!r})", [array], error)
    return moved.reshape(in_memory.shape).transpose(inverse_order(order))


def to_host(array: Array) -> np.ndarray:
    """Return a GPU's `array` as a NumPy array, with its axes in the same order in memory.

    The host waits for the device, and so learns what the device has found meanwhile.

    Raises:
        Exception: what `deferred.raise_later` was told of.
    """
    deferred.raise_found()
    in_memory, order = in_memory_order(array)
    return in_memory.get().transpose(inverse_order(order))


def number_like(number: Any, array: Array, dtype: Any) -> Array:
    """Return a number as a 0-d array where `array` lives: filled in there, for a copy would be another wait."""
    xp = xp_of(array)
    if xp is np:
        return np.asarray(number, dtype)
    if xp_of(number) is xp:
        return number.astype(dtype)
    return xp.full((), number.item() if hasattr(number, "item") else number, dtype)


def library_of(name: str) -> ModuleType:
    """Return the array library of a device, for making arrays there: inside `with` blocks of CuPy's `Device`.

    Raises:
        ValueError, RuntimeError: see `to_device`.
    """
    return np if parse_device(name)[0] == "cpu" else _cupy_for(name)


def gpu_named(name: str) -> tuple[ModuleType, Any]:
    """Return CuPy and its object for the GPU called `name`; "cuda" is the one in use.

    Raises:
        RuntimeError: for a GPU that this machine cannot use, with the reason.
    """
    cupy, index = _cupy_for(name), device(name).index
    return cupy, cupy.cuda.Device() if index is None else cupy.cuda.Device(index)


def _cupy_for(name: str) -> ModuleType:
    """Return CuPy, after making sure that the GPU called `name` is there."""
    problem = cuda_problem()
    if problem is not None:
        raise RuntimeError(f'device "{name}" cannot be used: {problem}')
    import cupy

    count = cupy.cuda.runtime.getDeviceCount()
    if parse_device(name)[1] >= count:
        raise RuntimeError(f'device "{name}" does not exist: this machine has {count} GPU(s)')
    return cupy


def check_one_device(where: str, **arrays: Array | None) -> None:
    """Refuse arrays on different devices.

    Args:
        where: the function to name in the message.
        arrays: by the names of its arguments; None for one that is absent.

    Raises:
        RuntimeError: with names, shapes and devices of all, and how to move one.
    """
    given = {name: array for name, array in arrays.items() if array is not None}
    places = {name: device_of(array) for name, array in given.items()}
    if len(set(places.values())) > 1:
        found = ", ".join(
            f"{name} of shape {array.shape} on {places[name]}" for name, array in given.items()
        )
        target = next(place for place in places.values() if place.type == "cuda")
        raise RuntimeError(
            f"{where}: all arguments must live on one device, got {found}; move the others there with "
            f'.to("{target}")'
        )


# --- running out of memory ------------------------------------------------------------------------


def out_of_memory(where: str, arrays: Iterable[Array | None], error: MemoryError) -> NoReturn:
    """Raise a MemoryError that says who wanted memory, for what, and what would need less of it.

    Args:
        where: the function that ran out of it.
        arrays: what it computed with.
        error: what the array library said; its traceback, which holds on to more arrays, is dropped.
    """
    given = [array for array in arrays if array is not None]
    shapes = ", ".join(f"{array.dtype} {array.shape}" for array in given)
    place = device_of(given[0]) if given else _CPU
    said = str(error).rstrip(".")
    error.__traceback__ = None
    raise MemoryError(
        f"{where}: {place} has not enough memory to compute with {shapes}: {said or 'no room'}; use a "
        "smaller batch, or no_grad() where no gradient is wanted"
    ) from None
