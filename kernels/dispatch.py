"""Which of the sibling implementations of a kernel serves an array.

A kernel that exists twice, once with the functions of NumPy and CuPy (`pool.py`) and once in
compiled loops (`cpu/pool.py`), has the same name and signature in both files.
"""

import functools
import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import numpy as np

from .arrays import Array

COMPILED_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


@functools.cache
def can_compile() -> bool:
    """Whether Numba is installed and switched on. A machine with only a GPU needs none."""
    return find_spec("numba") is not None and os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"


def suits_compiled(array: Array) -> bool:
    """Whether the compiled loops compute with `array`: on the CPU, in float32 or float64."""
    return type(array) is np.ndarray and array.dtype in COMPILED_DTYPES and can_compile()


def sibling(name: str, array: Array) -> ModuleType:
    """Return `cpu.<name>` if the compiled loops suit `array`, and `<name>` otherwise."""
    return _module(name, suits_compiled(array))


def compiled_module(name: str) -> ModuleType:
    """Return `cpu.<name>`, for a kernel that exists in compiled loops only."""
    return _module(name, True)


@functools.cache
def _module(name: str, is_compiled: bool) -> ModuleType:
    """Import a module when it is first needed: Numba takes its time to load."""
    return import_module(f".cpu.{name}" if is_compiled else f".{name}", __package__)
