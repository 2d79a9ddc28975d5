"""Large arrays in memory that has been used before.

The operating system hands out memory in pages, and clears each page when it is first written to: to
fill a new array of 50 MB takes more than twice as long as to fill an old one. The C library keeps
some of what is freed, but not pieces of more than 32 MiB, nor what lies at the top of its heap. A
training step frees nearly everything at its end, and so pays for the same pages in every step. The C
library also cuts small arrays out of the holes that larger ones left: such a hole no longer fits the
same gradient in the next step, and the heap grows.

`empty` therefore cuts arrays of half a MiB and more out of arenas (see arena.py), one for middling arrays and one for
large ones.
"""

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from .arena import CACHE_LINE as CACHE_LINE  # for the loops
from .arena import Arena, Loan
from .arrays import Array

LARGE = 2**20
"""Bytes from which on an array is large: its place in the arena costs much less time than new pages would."""

MIDDLING = 2**19
"""The same for the smaller arena: in the C library's heap, it would leave a hole that small arrays break up."""

SMALL_CHUNK = 2**21
"""The least that an arena for such arrays asks for, in bytes: a program may have few of them."""


class Pool:
    """Arenas for arrays of several sizes.

    Args:
        least: bytes from which on an array gets a place in an arena; the C library has one for smaller arrays.
    """

    def __init__(self, least: int = MIDDLING) -> None:
        self._least = least
        self._small = Arena(SMALL_CHUNK)
        self._middling = Arena(SMALL_CHUNK, staggered=True)
        self._large = Arena(staggered=True)
        self._arenas = self._small, self._middling, self._large

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """See the function below."""
        size = math.prod(shape) * dtype.itemsize
        if size < self._least:
            return np.empty(shape, dtype)
        if size < MIDDLING:
            return self._small.empty(shape, dtype)
        return (self._middling if size < LARGE else self._large).empty(shape, dtype)

    @property
    def lent(self) -> int:
        """The bytes on loan."""
        return sum(arena.lent for arena in self._arenas)

    def holds(self, array: np.ndarray) -> bool:
        """Whether an array, perhaps a borrowed one, lies in this pool."""
        address = address_of(array)
        chunks = (chunk for arena in self._arenas for chunk in arena.chunks)
        return any(0 <= address - address_of(chunk) < chunk.size for chunk in chunks)

    def loan_of(self, array: np.ndarray) -> np.ndarray | None:
        """Return the bytes of this pool that were lent for an array, or None; it is not for borrowed arrays."""
        owner = owner_of(array)
        return owner if isinstance(owner, Loan) and owner.arena in self._arenas else None

    def borrowed(self, array: np.ndarray) -> np.ndarray:
        """Return a view of an array that does not keep its place in this pool: it is lent again when `array` is gone.

        An array of somebody else's is returned itself: its place would be lent to others.
        """
        loan = self.loan_of(array)
        if loan is None:
            return array
        return view_in(loan.place[0], array)

    def release(self) -> None:
        """Give the memory that waits for its next array back to the system."""
        for arena in self._arenas:
            arena.release()

    def drop_free_pages(self) -> None:
        """Give the pages that no array lies in back to the system; borrowed arrays stay at their addresses."""
        for arena in self._arenas:
            arena.drop_free_pages()

    def after_fork(self) -> None:
        """Make the arenas usable in a process that was forked while another thread used them."""
        for arena in self._arenas:
            arena.after_fork()


_common = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_common.after_fork)


class _InUse(threading.local):
    """The pool that a thread takes its memory from; None stands for the common one."""

    pool: Pool | None = None


_in_use = _InUse()


@contextmanager
def used_by_this_thread(pool: Pool | None) -> Iterator[None]:
    """Take the memory of new arrays from `pool` inside a `with` block; None is the common one."""
    outer, _in_use.pool = _in_use.pool, pool
    try:
        yield
    finally:
        _in_use.pool = outer


def empty(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Return a new C-contiguous array with arbitrary elements: `numpy.empty`, in used memory where that is quicker."""
    if not isinstance(dtype, np.dtype):
        dtype = np.dtype(dtype)
    pool = _in_use.pool
    if pool is None:  # asked first, as most arrays are small
        if math.prod(shape) * dtype.itemsize < MIDDLING:
            return np.empty(shape, dtype)
        pool = _common
    return pool.empty(shape, dtype)


def empty_like(array: np.ndarray) -> np.ndarray:
    """Return a new array of the shape, dtype and order in memory of another, as `empty` does: `numpy.empty_like`."""
    if array.nbytes < MIDDLING and _in_use.pool is None:
        return np.empty_like(array)
    outside_in = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    in_order = empty(tuple(array.shape[axis] for axis in outside_in), array.dtype)
    return in_order.transpose(np.argsort(outside_in))


def copy_of(array: np.ndarray) -> np.ndarray:
    """Return a copy in the order in memory of another array, as `empty` makes arrays."""
    copy = empty_like(array)
    copy[...] = array
    return copy


def view_in(owner: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Return a view of an array in the bytes of `owner`, which they both lie in; it keeps these and nothing else."""
    offset = address_of(array) - address_of(owner)
    return np.ndarray(array.shape, array.dtype, owner, offset, array.strides)


def address_of(array: np.ndarray) -> int:
    """Return the address of the first element."""
    return array.__array_interface__["data"][0]


def owner_of(array: Array | None) -> object:
    """Return the object that owns the memory of an array or a view. Arrays of different owners do not overlap."""
    base = getattr(array, "base", None)
    # A loan is an owner itself: the chunk below it belongs to many arrays.
    while base is not None and not getattr(array, "arena", None):
        array, base = base, getattr(base, "base", None)
    return array


def release() -> None:
    """Give the memory that waits for its next array back to the system."""
    _common.release()
