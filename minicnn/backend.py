"""Devices and their array libraries.

An array on the CPU is a `numpy.ndarray`, an array on a GPU is a `cupy.ndarray`; both libraries
share one vocabulary. Code that works on either asks `xp_of(array)` for the library to call. CuPy is
optional: it is imported only when somebody names a CUDA device, and a missing package, driver or
card is reported in words.
"""

from typing import Any

import numpy as np

from minicnn.kernels.arrays import Array, xp_of

__all__ = [
    "Array",
    "as_dtype",
    "cuda_is_available",
    "device_of",
    "is_array",
    "is_device_name",
    "parse_device",
    "to_device",
    "xp_of",
]


def device_of(array: Array) -> str:
    """Return where `array` lives: "cpu", or "cuda:0", "cuda:1", ... for a GPU array."""
    return "cpu" if xp_of(array) is np else f"cuda:{array.device.id}"


def is_array(value: object) -> bool:
    """Whether `value` is an array of one of the backends."""
    return isinstance(value, np.ndarray) or xp_of(value) is not np


def cuda_is_available() -> bool:
    """Whether CuPy can be imported and sees a working GPU. Never raises."""
    return _cuda_problem() is None


def _cuda_problem() -> str | None:
    """Say in words what keeps this machine from using CUDA, or None where nothing does."""
    try:
        import cupy
    except Exception as error:  # a broken CuPy installation may raise anything
        return f"CuPy cannot be imported ({error}); install minicnn[cuda12] or minicnn[cuda13]"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # a missing driver raises CUDARuntimeError
        return f"CuPy is installed, but no CUDA driver or GPU answers ({error})"
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


def parse_device(device: str) -> tuple[str, int]:
    """Split "cpu", "cuda" or "cuda:1" into its kind and its index.

    Raises:
        ValueError: for any other text.
    """
    kind, _, index = str(device).partition(":")
    if kind == "cpu" and index in ("", "0"):
        return "cpu", 0
    if kind == "cuda" and (index == "" or index.isdecimal()):
        return "cuda", int(index or 0)
    raise ValueError(f'device: expected "cpu", "cuda" or "cuda:<index>", got {device!r}')


def to_device(array: Array, device: str) -> Array:
    """Return `array` on `device`; the same object where it already lives there.

    Raises:
        ValueError: for a device name that does not exist.
        RuntimeError: for a CUDA device that this machine cannot use, with the reason.
    """
    kind, index = parse_device(device)
    if kind == "cpu":
        return array if xp_of(array) is np else array.get()
    problem = _cuda_problem()
    if problem is not None:
        raise RuntimeError(f'device "{device}" cannot be used: {problem}')
    import cupy

    count = cupy.cuda.runtime.getDeviceCount()
    if index >= count:
        raise RuntimeError(f'device "{device}" does not exist: this machine has {count} GPU(s)')
    with cupy.cuda.Device(index):
        return cupy.asarray(array)
