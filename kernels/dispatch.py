"""Which of the sibling implementations of a kernel serves an array.

A kernel exists up to three times: with the functions of NumPy and CuPy (`pool.py`), in compiled loops
(`cpu/pool.py`), and in CUDA (`gpu/pool.py`). It has the same name and signature in all of them.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import numpy as np

from .arrays import Array, xp_of
from .garbage import rare_searches_for_cycles

COMPILED_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


@functools.cache
def can_compile() -> bool:
    """Whether Numba is installed and switched on. A machine with only a GPU needs none."""
    return find_spec("numba") is not None and os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"


def suits_compiled(array: Array) -> bool:
    """Whether the compiled loops compute with `array`: on the CPU, in float32 or float64."""
    return type(array) is np.ndarray and array.dtype in COMPILED_DTYPES and can_compile()


CUDA_KERNELS = frozenset(
    {"activation", "bias", "clip", "dropout", "loss", "norm", "pool", "update"}
)
"""The names of the siblings in gpu/, but for `linear`: see `own_products`."""

_cuda_kernels_are_on: ContextVar[bool] = ContextVar("cuda_kernels", default=True)
_products_are_own: ContextVar[bool] = ContextVar("own_products", default=False)


@contextmanager
def cuda_kernels(on: bool) -> Iterator[None]:
    """Switch the kernels in gpu/ on or off inside a `with` block, in this thread.

    Without them, a GPU computes with the functions of CuPy: for comparisons, and to find out whether
    a kernel is to blame.
    """
    before = _cuda_kernels_are_on.set(on)
    try:
        yield
    finally:
        _cuda_kernels_are_on.reset(before)


@contextmanager
def own_products() -> Iterator[None]:
    """Let dense layers on a GPU be computed by gpu/linear.py inside a `with` block, in this thread.

    Elsewhere that is done by CuPy's matrix product: NVIDIA's, which is quicker for large matrices, but
    cannot be recorded as a part of a graph.
    """
    before = _products_are_own.set(True)
    try:
        yield
    finally:
        _products_are_own.reset(before)


LEAST_CAPABILITY = 8
"""The compute capability that the kernels in gpu/ need, that of Ampere (2020): they copy while they compute."""


def suits_cuda(array: Array) -> bool:
    """Whether the kernels in gpu/ compute with `array`: on a GPU that is young enough, in float32 or float64."""
    if xp_of(array) is np or array.dtype not in COMPILED_DTYPES:  # NumPy's numbers are no arrays
        return False
    return _cuda_kernels_are_on.get() and _runs_kernels(xp_of(array), array.device.id)


@functools.cache
def _runs_kernels(xp: ModuleType, device: int) -> bool:
    if not hasattr(xp, "RawModule"):
        return False
    return xp.cuda.Device(device).attributes["ComputeCapabilityMajor"] >= LEAST_CAPABILITY


def place_of(array: Array) -> str:
    """Return the folder whose kernels suit `array`: "cpu", "gpu", or "" for functions of the array library."""
    return "cpu" if suits_compiled(array) else "gpu" if suits_cuda(array) else ""


def sibling(name: str, array: Array) -> ModuleType:
    """Return `cpu.<name>` or `gpu.<name>` if there is one that suits `array`, and `<name>` otherwise."""
    if suits_compiled(array):
        return _module(name, "cpu")
    in_cuda = name in CUDA_KERNELS or (name == "linear" and _products_are_own.get())
    return _module(name, "gpu" if in_cuda and suits_cuda(array) else "")


def compiled_module(name: str) -> ModuleType:
    """Return `cpu.<name>`, for a kernel that exists in compiled loops only."""
    return _module(name, "cpu")


@functools.cache
def _module(name: str, place: str) -> ModuleType:
    """Import a module when it is first needed: Numba takes its time to load."""
    with rare_searches_for_cycles():
        return import_module(f".{place}.{name}" if place else f".{name}", __package__)
