"""What the machine can do at most: float32 arithmetic, and bytes moved from each level of memory."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import torch
from bandwidth import BarePasses
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from traffic import Traffic

from minicnn.kernels.cpu.compiled import on_threads
from minicnn.kernels.cpu.simd import multiply_tile, panel_width
from minicnn.kernels.cpu.target import TILE_ROWS, VECTOR_BYTES
from minicnn.kernels.memory import CACHE_LINE

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
        read: bytes a second, where nothing is written.
        copied: bytes a second, read and written, where as much is written as is read.
    """

    name: str
    holds: float
    read: float
    copied: float


@dataclass(frozen=True)
class Peaks:
    """The machine's limits.

    Attributes:
        arithmetic: float32 additions and multiplications a second, for each of the ways to measure it.
        levels: caches and memory, the fastest first.
    """

    arithmetic: dict[str, float]
    levels: tuple[Level, ...]

    @property
    def flops(self) -> float:
        """The highest of them."""
        return max(self.arithmetic.values())

    def level_of(self, footprint: float) -> Level:
        """Return the level where arrays that take up so many bytes together are found, when they are used again."""
        return next(level for level in self.levels if footprint <= level.holds)


def measure_peaks(threads: int) -> Peaks:
    """Measure all of them with `threads` threads, in a quarter of a minute."""
    square = np.ones((1536, 1536), np.float32)
    arithmetic = {
        "multiply-adds in registers": registers_flops(threads),
        "tiles, all operands in L1": tile_flops(threads),
        "PyTorch's matrix product": product_flops(torch.from_numpy(square), torch.mm),
        "NumPy's matrix product": product_flops(square, np.matmul),
    }
    return Peaks(arithmetic, measure_levels(threads))


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


@on_threads
def multiply_tiles(part, parts, count, x_rows, weights, y_rows, start, channels):
    """Compute the same tile again and again: TILE_ROWS rows of `channels` numbers, times a packed panel."""
    mine = y_rows[part]
    for _ in range(count):
        multiply_tile(
            x_rows, TILE_ROWS, weights, 0, mine, 0, start, 1, channels, 0, weights.shape[1]
        )


def tile_flops(threads: int, channels: int = 128, count: int = 20_000) -> float:
    """Additions and multiplications a second of the building block of minicnn's convolutions, undisturbed.

    Its operands, 12 to 40 KiB with vectors of 16 to 64 bytes, are in the L1 cache, or nearly.
    """
    width = panel_width(4)
    x, weights = np.ones((TILE_ROWS, channels), np.float32), aligned((channels, width))
    weights[...] = 1 / channels
    y, start = np.empty((threads, TILE_ROWS, width), np.float32), np.zeros(width, np.float32)
    x_rows = addresses_of_rows(x)
    y_rows = addresses_of_rows(y).reshape(threads, TILE_ROWS)
    arguments = count, x_rows, weights, y_rows, start.ctypes.data, channels
    seconds = shortest(lambda: multiply_tiles(threads, *arguments))
    if not np.allclose(y, 1, rtol=1e-5):
        raise RuntimeError(f"tile_flops: expected tiles of ones, got {y}")
    return 2 * threads * count * TILE_ROWS * width * channels / seconds


def aligned(shape: tuple[int, int]) -> np.ndarray:
    """Return room for float32 numbers that begins with a cache line, as packed weights do."""
    room = np.empty(math.prod(shape) + CACHE_LINE // 4, np.float32)
    start = -room.ctypes.data % CACHE_LINE // room.itemsize
    return room[start : start + math.prod(shape)].reshape(shape)


def addresses_of_rows(array: np.ndarray) -> np.ndarray:
    """The addresses of an array's rows, all but the last axis."""
    row_bytes = array.shape[-1] * array.itemsize
    return array.ctypes.data + np.arange(array.nbytes // row_bytes) * row_bytes


def product_flops(matrix: object, product: Callable) -> float:
    """Additions and multiplications a second, in the product of a square matrix with itself."""
    return 2 * len(matrix) ** 3 / shortest(lambda: product(matrix, matrix), seconds=1)


# --- memory ---------------------------------------------------------------------------------------


def measure_levels(threads: int) -> tuple[Level, ...]:
    """Measure how fast each level of memory is read, and how fast it is copied."""
    levels = []
    for name, holds, size in (
        ("L2", threads * cache_size(2), threads * cache_size(2) // 2),
        ("L3", cache_size(3), cache_size(3) // 2),
        ("memory", sys.maxsize, 256 * 2**20),
    ):
        read = bandwidth(Traffic("x", {"x": size}), threads)
        copied = bandwidth(Traffic("x -> y", {"x": size // 2, "y": size // 2}), threads)
        levels.append(Level(name, holds, read, copied))
    return tuple(levels)


def bandwidth(traffic: Traffic, threads: int) -> float:
    """Bytes a second that are read and written by the quickest of the bare passes."""
    passes = BarePasses(traffic, threads)
    seconds = min(shortest(call, 0.2) for call in passes.calls().values())
    return passes.repeats * traffic.moved / seconds
