"""What the memory allows: passes over arrays that read and write, and compute nothing.

A kernel that streams cannot be quicker than a loop that moves the same arrays and does no more. How long
that takes depends on much: what is read and what is written, whether a store fetches its line first, how much
the caches still hold of the last pass, and what other programs do to the same memory. So no figure of bytes a
second serves for all. A `Traffic` says which arrays a kernel goes through, and `BarePasses` goes through arrays of
the same sizes, in several ways. They are timed by turns with the kernel, and the quickest is its limit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from traffic import READ, WRITE, Traffic

from minicnn.kernels.cpu.streaming import finish_streaming, store_streaming
from minicnn.kernels.cpu.target import VECTOR_BYTES
from minicnn.kernels.memory import CACHE_LINE

WORD = 8
"""Bytes of an int64, the numbers that the loops move."""

LINE = CACHE_LINE // WORD
PIECES = 8, 64, 1024
"""Lines of the largest array that are moved before it is the next array's turn."""

FRACTION = 2**20
"""The arrays of a pass end together: of a smaller one, a piece is so many lines / FRACTION."""

STAGGER = 5
"""Lines between two arrays: a read and a write at the same place of two pages of 4 KiB wait for each other."""


@dataclass(frozen=True)
class BarePasses:
    """Loops that go through arrays of the same sizes, in memory of their own.

    Attributes:
        traffic: the arrays.
        threads: that share each of them.
        least_bytes: small arrays are gone through so often that a call moves so much: starting threads shall not count.
    """

    traffic: Traffic
    threads: int
    least_bytes: int = 2**24

    @property
    def repeats(self) -> int:
        """How often a call does all passes."""
        return max(1, self.least_bytes // max(1, self.traffic.moved))

    def calls(self) -> dict[str, Callable[[], object]]:
        """Return ways to do it: which one is the quickest, depends on the machine and on what the caches hold."""
        starts, end = {}, 0
        for name in self.traffic.arrays:
            starts[name] = end
            end += lines_of(self.traffic.sizes[name]) + STAGGER
        memory = np.empty((end + 1) * LINE, np.int64)
        memory = memory[-memory.ctypes.data % CACHE_LINE // WORD :]
        memory[:] = 1
        results = np.empty(self.threads, np.int64)

        def call(lines: int, streaming: bool) -> Callable[[], object]:
            table = self.table(starts, lines)
            arguments = self.threads, self.repeats, memory, table, streaming, results
            return lambda: move(*arguments)

        return {
            f"{'streaming' if streaming else 'ordinary'} stores, {lines} lines at a time": call(
                lines, streaming
            )
            for lines in PIECES
            for streaming in ((False, True) if "->" in self.traffic.passes else (False,))
        }

    def table(self, starts: dict[str, int], lines: int) -> np.ndarray:
        """Return what `move` shall do: for each array of a pass, a row, and a row of zeros behind them.

        A row: pieces, READ or WRITE or UPDATE, the first line, and how many lines / FRACTION a piece has.
        """
        rows = []
        for step in self.traffic.steps():
            largest = max(lines_of(self.traffic.sizes[name]) for name, _ in step)
            pieces = max(self.threads, largest // lines)
            for name, kind in step:
                each = -(-lines_of(self.traffic.sizes[name]) * FRACTION // pieces)  # up: to the end
                rows.append((pieces, kind, starts[name], each))
            rows.append((0, 0, 0, 0))
        return np.array(rows)


def lines_of(size: int) -> int:
    """The cache lines that so many bytes fill."""
    return -(-size // CACHE_LINE)


# --- loops ----------------------------------------------------------------------------------------


@intrinsic
def stream_line(typing_context, memory, index, value):
    """Write a word all over the cache line that begins at `index`, past the caches."""

    def emit(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        lanes = VECTOR_BYTES // WORD
        vector = ir.Constant(ir.VectorType(ir.IntType(64), lanes), ir.Undefined)
        for lane in range(lanes):
            vector = builder.insert_element(vector, arguments[2], ir.Constant(ir.IntType(32), lane))
        for offset in range(0, LINE, lanes):
            place = builder.add(arguments[1], ir.Constant(ir.IntType(64), offset))
            pointer = builder.bitcast(builder.gep(array.data, [place]), vector.type.as_pointer())
            store_streaming(builder, vector, pointer, VECTOR_BYTES)
        return context.get_dummy_value()

    return types.void(memory, types.int64, types.int64), emit


@numba.njit
def move_piece(memory, kind, first, last, streaming, total):
    """Read, write or change the words from `first` to `last`, whole lines; return what there is to know of them."""
    words = memory[first:last]  # indices from 0 on let the loops become vector instructions
    if kind != WRITE:
        for i in range(words.size):
            total ^= words[i]
    if kind != READ and streaming:
        for i in range(0, words.size, LINE):
            stream_line(words, i, total)
    elif kind != READ:
        for i in range(words.size):
            words[i] = total
    return total


@numba.njit
def move_share(memory, table, thread, threads, streaming):
    """Do one thread's share of all passes, piece by piece of all arrays."""
    total = row = 0
    while row < len(table):
        pieces, end = table[row, 0], row
        while table[end, 0] > 0:
            end += 1
        for piece in range(thread * pieces // threads, (thread + 1) * pieces // threads):
            for array in range(row, end):
                kind, start, each = table[array, 1], table[array, 2], table[array, 3]
                first = start + piece * each // FRACTION
                last = start + (piece + 1) * each // FRACTION
                total = move_piece(memory, kind, first * LINE, last * LINE, streaming, total)
        row = end + 1
    if streaming:
        finish_streaming()
    return total


@numba.njit(parallel=True)
def move(threads, repeats, memory, table, streaming, results):
    """Do all passes on threads, several times over."""
    for thread in numba.prange(threads):
        total = 0
        for _ in range(repeats):
            total ^= move_share(memory, table, thread, threads, streaming)
        results[thread] = total
