"""The GPUs of this machine: whether there are any, what they are called, and how much memory is in use.

Only `is_available` and `device_count` may be called on a machine without a GPU; the others raise a
RuntimeError that says what is missing. Where they take the name of a device, one that is no GPU's is a
ValueError. A GPU works through what it is given in order, while Python
goes on; `synchronize` waits for it, as every reading of a number does (see docs/14-devices.md).
"""

from types import ModuleType
from typing import Any

from minicnn import deferred
from minicnn.backend import cuda_is_available, cuda_problem, device, gpu_named, library_of

__all__ = [
    "current_device",
    "device_count",
    "empty_cache",
    "get_device_name",
    "is_available",
    "memory_allocated",
    "memory_reserved",
    "set_device",
    "synchronize",
]


def is_available() -> bool:
    """Whether CuPy can be imported and sees a working GPU. Never raises."""
    return cuda_is_available()


def device_count() -> int:
    """The number of GPUs that can be used; 0 where none can. Never raises."""
    return 0 if cuda_problem() else library_of("cuda").cuda.runtime.getDeviceCount()


def current_device() -> int:
    """The number of the GPU in use, which "cuda" stands for."""
    return library_of("cuda").cuda.Device().id


def set_device(index: int | str) -> None:
    """Use another GPU from now on: "cuda" stands for it. Tensors are computed with while theirs is in use.

    Raises:
        RuntimeError: for a GPU that does not exist.
    """
    _gpu(index)[1].use()


def get_device_name(index: int | str | None = None) -> str:
    """The name of a GPU, such as "NVIDIA H200"; of the one in use where none is named."""
    cupy, gpu = _gpu(index)
    name = cupy.cuda.runtime.getDeviceProperties(gpu.id)["name"]
    return name.decode() if isinstance(name, bytes) else name


def synchronize(index: int | str | None = None) -> None:
    """Wait until a GPU has done all that it was given.

    Raises:
        Exception: what the GPU found meanwhile, such as a label that is no class.
    """
    _gpu(index)[1].synchronize()
    deferred.raise_found()


def memory_allocated(index: int | str | None = None) -> int:
    """The bytes that arrays on a GPU occupy."""
    cupy, gpu = _gpu(index)
    with gpu:
        return cupy.get_default_memory_pool().used_bytes()


def memory_reserved(index: int | str | None = None) -> int:
    """The bytes that CuPy holds on a GPU: those of arrays, and those that wait for the next array."""
    cupy, gpu = _gpu(index)
    with gpu:
        return cupy.get_default_memory_pool().total_bytes()


def empty_cache() -> None:
    """Give the memory of the GPU in use that waits for its next array back to the system."""
    library_of("cuda").get_default_memory_pool().free_all_blocks()


def _gpu(index: int | str | None) -> tuple[ModuleType, Any]:
    """Return CuPy and its object for a GPU, given by number or name; None is the one in use."""
    name = device("cuda" if index is None else f"cuda:{index}" if isinstance(index, int) else index)
    if name.type != "cuda":
        raise ValueError(
            f'cuda: expected the number of a GPU, "cuda" or "cuda:<index>", got {index!r}'
        )
    return gpu_named(name)
