"""From a CUDA source beside this file to a function that can be called.

    kernel = function("pool", "max_pool", x, WINNER="unsigned char")
    kernel(blocks_for(size), (THREADS,), (x, y, np.int64(size)))

`cupy.RawModule` compiles a source when it is first needed, for the card at hand, and keeps the
machine code on disk. Here only three things are added: files that a source includes become part of
its text, so that CuPy notices their changes; the dtype of the arrays becomes the type `REAL` of the
source; and what was once asked for is remembered. CuPy itself is taken from the arrays.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Array, xp_of

FOLDER = Path(__file__).parent
REALS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
"""The dtypes that the kernels compute in, and the names of their types."""

Grid = tuple[int, ...]
"""How many blocks a grid has, or threads a block, along x, y and z."""

THREADS = 256
"""Threads of a block, where nothing speaks for another number: eight warps, to switch between while one waits."""

MOST_BLOCKS = 2**16
"""More blocks than a card runs at once; their threads take several elements each, where there are more."""

NO_ARRAY = np.uint64(0)
"""What a kernel gets in place of an array that there is not: the address 0."""


def function(
    file: str, name: str, like: Array, shared_bytes: int = 0, **defines: object
) -> Callable[..., None]:
    """Return a kernel.

    Args:
        file: the source's name without its ending, for instance "pool".
        name: the kernel's name, declared as `extern "C" __global__ void name(...)`.
        like: a CuPy array of the dtype that the kernel computes in, float32 or float64.
        shared_bytes: dynamic shared memory that it will be launched with, where that is more than 48 KiB,
            which a kernel has to be allowed first.
        defines: names that the source leaves open, and what stands for them.

    Returns:
        A `cupy.RawKernel`, called with the number of blocks, the number of threads in a block, both
        tuples, and the arguments of the kernel: arrays, and NumPy's numbers of the types that the
        kernel declares.

    Raises:
        TypeError: for arrays of another dtype.
    """
    real = REALS.get(like.dtype)
    if real is None:
        raise TypeError(f"{file}.{name}: expected an array of float32 or float64, got {like.dtype}")
    xp = xp_of(like)
    device = (
        xp.cuda.Device().id if shared_bytes else None
    )  # what a kernel is allowed, it is on one device
    defined = (("REAL", real), *defines.items())
    return _function(xp, file, name, defined, shared_bytes, device)


@functools.cache
def _function(
    xp: Any, file: str, name: str, defines: tuple, shared_bytes: int, device: int | None
) -> Callable[..., None]:
    kernel = _module(xp, file, defines).get_function(name)
    if shared_bytes:
        kernel.max_dynamic_shared_size_bytes = shared_bytes
    return kernel


@functools.cache
def _module(xp: Any, file: str, defines: tuple) -> Any:
    options = ("-std=c++17", *(f"-D{name}={value}" for name, value in defines))
    return xp.RawModule(code=source(f"{file}.cu"), options=options)


@functools.cache
def source(file: str) -> str:
    """Return the text of a file in this folder, with the text of those that it includes in their place, once each."""
    return "\n".join(_lines(file, set()))


def _lines(file: str, included: set[str]) -> list[str]:
    included.add(file)
    lines = [f'#line 1 "{file}"']
    for number, line in enumerate((FOLDER / file).read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith('#include "'):
            other = line.split('"')[1]
            if other not in included:
                lines += _lines(other, included)
            lines.append(f'#line {number + 1} "{file}"')
        else:
            lines.append("" if line == "#pragma once" else line)
    return lines


def blocks_for(size: int, threads: int = THREADS) -> Grid:
    """Return how many blocks work on `size` elements, at least 1: each thread takes one, or several of very many."""
    return (max(1, min(-(-size // threads), MOST_BLOCKS)),)


def struct(names: Sequence[str], *values: int, dtype: type = np.int32) -> np.ndarray:
    """Return what a kernel takes as a struct of these members, all of one type."""
    return np.array([values], [(name, dtype) for name in names])


def contiguous(array: Array) -> Array:
    """Return the array in row-major order; no copy if that is how it lies in memory."""
    return array if array.flags.c_contiguous else xp_of(array).ascontiguousarray(array)
