"""What the machine can do at most: float32 arithmetic, and bytes moved from each level of memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels.cpu.target import VECTOR_BYTES

LANES = VECTOR_BYTES // 4
CHAINS = 12
"""Multiply-adds under way at once: more than latency times throughput (4 cycles, 2 a cycle), and few
enough for 16 registers."""


@dataclass(frozen=True)
class Level:
    """A level of memory.

    Attributes:
        name: "L2", "L3" or "memory".
        holds: bytes that all threads together find there at most.
        bandwidth: bytes a second, read and written, the best of copying and of a = b + s c.
    """

    name: str
    holds: float
    bandwidth: float


@dataclass(frozen=True)
class Peaks:
    """The machine's limits.

    Attributes:
        flops: float32 additions and multiplications a second.
        found_by: which of the ways to measure it was the quickest.
        levels: caches and memory, the fastest first.
    """

    flops: float
    found_by: str
    levels: tuple[Level, ...]

    def level_of(self, size: float) -> Level:
        """Return the level that data of `size` bytes comes from."""
        return next(level for level in self.levels if size <= level.holds)

    def roof(self, flops: float, moved: float) -> float:
        """Return the least seconds for so much arithmetic and so many bytes."""
        return max(flops / self.flops, moved / self.level_of(moved).bandwidth)


def measure_peaks(threads: int) -> Peaks:
    """Measure all of them with `threads` threads, in a few seconds."""
    arithmetic = {
        "multiply-adds in registers": registers_flops(threads),
        "PyTorch's matrix product": product_flops(torch.randn(1536, 1536), torch.mm),
        "NumPy's matrix product": product_flops(np.ones((1536, 1536), np.float32), np.matmul),
    }
    found_by = max(arithmetic, key=arithmetic.get)
    levels = tuple(
        Level(name, holds, bandwidth(threads, size))
        for name, holds, size in (
            ("L2", threads * cache_size(2), threads * cache_size(2) // 2),
            ("L3", cache_size(3), cache_size(3) // 2),
            ("memory", float("inf"), 512 * 2**20),
        )
    )
    return Peaks(arithmetic[found_by], found_by, levels)


def cache_size(level: int) -> int:
    """Bytes of a core's L2 cache, or of the L3 cache; a guess where the system does not say."""
    for cache in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (cache / "level").read_text().strip() == str(level):
            return int((cache / "size").read_text().strip().removesuffix("K")) * 1024
    return {2: 512 * 2**10, 3: 16 * 2**20}[level]


def shortest(call: Callable[[], object], seconds: float = 0.5) -> float:
    """The seconds of the quickest of many calls, the first not counted."""
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


# --- arithmetic -----------------------------------------------------------------------------------


@intrinsic
def multiply_adds(typing_context, count):
    """Do CHAINS * count multiply-adds of vectors that never leave the registers; return their sum."""

    def emit(context, builder, signature, arguments):
        vector = ir.VectorType(ir.FloatType(), LANES)
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{LANES}f32"
        )
        factor, addend = (ir.Constant(vector, [value] * LANES) for value in (0.999, 0.001))
        chains = [cgutils.alloca_once(builder, vector) for _ in range(CHAINS)]
        for number, chain in enumerate(chains):
            builder.store(ir.Constant(vector, [float(number)] * LANES), chain)
        with cgutils.for_range(builder, arguments[0]):
            for chain in chains:
                builder.store(
                    builder.call(multiply_add, [builder.load(chain), factor, addend]), chain
                )
        total = builder.load(chains[0])
        for chain in chains[1:]:
            total = builder.fadd(total, builder.load(chain))
        numbers = [
            builder.extract_element(total, ir.Constant(ir.IntType(32), i)) for i in range(LANES)
        ]
        result = numbers[0]
        for number in numbers[1:]:
            result = builder.fadd(result, number)
        return result

    return types.float32(types.int64), emit


@numba.njit(parallel=True)
def multiply_adds_on_threads(threads, count, results):
    """Do the same on each thread."""
    for thread in numba.prange(threads):
        results[thread] = multiply_adds(count)


def registers_flops(threads: int, count: int = 2_000_000) -> float:
    """Additions and multiplications a second, in registers."""
    results = np.empty(threads, np.float32)
    seconds = shortest(lambda: multiply_adds_on_threads(threads, count, results))
    return 2 * threads * CHAINS * LANES * count / seconds


def product_flops(matrix: object, product: Callable) -> float:
    """Additions and multiplications a second, in the product of a square matrix with itself."""
    return 2 * len(matrix) ** 3 / shortest(lambda: product(matrix, matrix), seconds=1)


# --- memory ---------------------------------------------------------------------------------------


@numba.njit
def share(array, thread, threads):
    """The part of a thread. A view of its own: indices from 0 on let the loops become vector instructions."""
    return array[thread * array.size // threads : (thread + 1) * array.size // threads]


@numba.njit(parallel=True)
def triad(threads, repeats, a, b, c):
    """Compute a = b + s c, as in McCalpin's STREAM, several times over."""
    scale = np.float32(0.5)
    for thread in numba.prange(threads):
        to, x, y = share(a, thread, threads), share(b, thread, threads), share(c, thread, threads)
        for _ in range(repeats):
            for i in range(to.size):
                to[i] = x[i] + scale * y[i]


@numba.njit(parallel=True)
def copy(threads, repeats, a, b):
    """Copy b to a, likewise."""
    for thread in numba.prange(threads):
        to, x = share(a, thread, threads), share(b, thread, threads)
        for _ in range(repeats):
            for i in range(to.size):
                to[i] = x[i]


def bandwidth(threads: int, size: int) -> float:
    """Bytes a second, read and written, in arrays of together `size` bytes.

    A cache line that is to be written is often read first; that hidden reading is not counted,
    neither here nor in what the kernels must move. Small arrays are gone through many times in a
    call, so that starting the threads does not count.
    """
    repeats = max(1, 2**27 // size)
    a, b, c = (np.ones(size // 12, np.float32) for _ in range(3))
    to, source = (np.ones(size // 8, np.float32) for _ in range(2))
    to_tensor, source_tensor = torch.from_numpy(to), torch.from_numpy(source)
    return max(
        repeats * 3 * a.nbytes / shortest(lambda: triad(threads, repeats, a, b, c)),
        repeats * 2 * to.nbytes / shortest(lambda: copy(threads, repeats, to, source)),
        2 * to.nbytes / shortest(lambda: to_tensor.copy_(source_tensor)),
    )
