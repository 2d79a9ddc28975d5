"""Large arrays in memory that has been used before.

The operating system hands out memory in pages, and clears each page when it is first written to: to
fill a new array of 50 MB takes more than twice as long as to fill an old one. The C library keeps
some of what is freed, but not pieces of more than 32 MiB, nor what lies at the top of its heap. A
training step frees nearly everything at its end, and so pays for the same pages in every step.

`empty` therefore takes large arrays from a pool of blocks. A block is lent to one array; when that
array and all views of it are gone, the block returns. How that is noticed: the array is a view of a
`_Loan`, NumPy keeps an object of a subclass as the `base` of its views, and the end of the last view is
the end of the loan.
"""

import math
import threading
from collections import deque

import numpy as np

LARGE = 2**20
"""The size in bytes from which on a block is worth the bookkeeping."""

CACHE_LINE = 64
"""Bytes that the processor fetches at once. Arrays on blocks begin with a line, so that their rows lie in few."""


class _Block(np.ndarray):
    """The bytes of a block; were it a plain array, NumPy would take it, and not the loan, as the base of views.

    Attributes:
        pool: where the block belongs.
    """


class _Loan(np.ndarray):
    """A view of a whole block, which hands the block back when the last array on it is gone."""

    def __del__(self) -> None:
        pool = getattr(self.base, "pool", None)  # None for a part of a loan: its base is the loan
        if pool is not None:
            pool.give_back(self.base)


class Pool:
    """Blocks that wait for their next array.

    Free blocks and blocks on loan together never take more memory than loans alone once did: before
    they do, the blocks that have waited longest are given up.

    Attributes:
        lent: the bytes on loan.
        peak: the most bytes that have been on loan at once, since `release`.
    """

    def __init__(self) -> None:
        self.lent = self.peak = 0
        self._free: deque[_Block] = deque()  # the one that has waited longest comes first
        self._returned: deque[_Block] = deque()  # handed back, and not yet entered in the books
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        """The bytes that wait."""
        return sum(block.nbytes for block in self._free)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return an array on a block of the pool."""
        size = _rounded(int(math.prod(shape)) * dtype.itemsize)
        with self._lock:
            self._enter_returned()
            block = self._take(size)
            if block is None:
                self._make_room(size)
                memory = np.empty(size + CACHE_LINE, np.uint8)
                first = -memory.ctypes.data % CACHE_LINE
                block = memory[first : first + size].view(_Block)
                block.pool = self
            self.lent += size
            self.peak = max(self.peak, self.lent)
        return np.ndarray(shape, dtype, buffer=block.view(_Loan))

    def give_back(self, block: _Block) -> None:
        """Take a block back. May be called at any moment: in any thread, and amid another call of the pool.

        Where another call is under way, that one, or the next, enters the block in the books.
        """
        self._returned.append(block)
        if self._lock.acquire(blocking=False):
            try:
                self._enter_returned()
                self._make_room(0)
            finally:
                self._lock.release()

    def release(self) -> None:
        """Give all free blocks back to the system, and forget how much was needed."""
        with self._lock:
            self._enter_returned()
            self._free.clear()
            self.peak = self.lent

    def _take(self, size: int) -> _Block | None:
        """Take the free block of this size that was used last: what it held may still be in the cache."""
        for i in reversed(range(len(self._free))):
            if self._free[i].nbytes == size:
                block = self._free[i]
                del self._free[i]
                return block
        return None

    def _enter_returned(self) -> None:
        while self._returned:
            block = self._returned.popleft()
            self._free.append(block)
            self.lent -= block.nbytes

    def _make_room(self, size: int) -> None:
        """Give up free blocks until `size` more bytes may be lent."""
        excess = self.lent + size + self.free - max(self.peak, self.lent + size)
        while excess > 0 and self._free:
            excess -= self._free.popleft().nbytes


def _rounded(nbytes: int) -> int:
    """Round up by an eighth at most, so that arrays of nearly the same size can share a block."""
    step = 2 ** max(nbytes.bit_length() - 4, 0)
    return -(-nbytes // step) * step


_pool = Pool()


def empty(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Return a new C-contiguous array with arbitrary elements: `numpy.empty`, in used memory where that is quicker."""
    if not isinstance(dtype, np.dtype):
        dtype = np.dtype(dtype)
    if math.prod(shape) * dtype.itemsize < LARGE:
        return np.empty(shape, dtype)
    return _pool.empty(shape, dtype)


def release() -> None:
    """Give the memory that waits for its next array back to the system."""
    _pool.release()
