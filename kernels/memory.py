"""Large arrays in memory that has been used before.

The operating system hands out memory in pages, and clears each page when it is first written to: to
fill a new array of 50 MB takes more than twice as long as to fill an old one. The C library keeps
some of what is freed, but not pieces of more than 32 MiB, nor what lies at the top of its heap. A
training step frees nearly everything at its end, and so pays for the same pages in every step. The C
library also cuts small arrays out of the holes that larger ones left: such a hole no longer fits the
same gradient in the next step, and the heap grows.

`empty` therefore cuts arrays of half a MiB and more out of arenas, one for middling arrays and one for
large ones. An array takes the smallest hole that holds it, in the oldest piece of the arena that has one,
and leaves the rest of the hole; when the array and all views of it are gone, its place is a hole again,
joined with the holes on both sides (Knuth, The Art of Computer Programming, volume 1, section 2.5:
best fit with boundary tags). The next array may thus have any size, and a step that frees, on its way
back, what it made on its way forward leaves hardly any hole unused.

How the end of an array is noticed: each array is a view of a `_Loan`. A view of a view gets the first
array of the chain as its base, except where one of another class comes between: so all views of an array
hold its loan, and when the last is gone, Python calls the loan's `__del__`.
"""

import math
import mmap
import operator
import os
import threading
from bisect import bisect
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np

from .arrays import Array

LARGE = 2**20
"""Bytes from which on an array is large: its place in the arena costs much less time than new pages would."""

MIDDLING = 2**19
"""The same for the smaller arena: in the C library's heap, it would leave a hole that small arrays break up."""

CACHE_LINE = 64
"""Bytes that the processor fetches at once. Arrays in the arena begin with a line, so that their rows lie in few."""

PAGE = 4096
"""Bytes of a page. A processor tells recent reads and writes apart by their places in pages: a loop that reads one
array and writes another at the same place of its page waits for itself, three times as long as it computes."""

STAGGER = 17 * CACHE_LINE
"""Sizes of places in an arena are whole pages and this, so that no two of 64 arrays in a row begin alike."""

CHUNK = 2**28
"""The least that the arena asks for, in bytes: addresses, which get pages when they are written to."""

SMALL_CHUNK = 2**21
"""The same for middling arrays: a program may have few of them."""

HUGE = 2**22
"""Bytes from which on a chunk asks for huge pages, as NumPy does for its arrays."""

Place = tuple["_Chunk", int, int]
"""A chunk, the first byte of a place in it, and the first byte after."""


class _Chunk(np.ndarray):
    """Bytes that arrays are cut from. A class of its own: NumPy would pass over the loans to a plain array.

    Attributes:
        pages: the memory itself.
        holes: (first byte, first byte after) of what is free, in order; no two of them touch.
    """

    pages: mmap.mmap
    holes: list[tuple[int, int]]

    def drop_free_pages(self) -> None:
        """Give the pages that lie in holes back to the system; the addresses stay, and get new ones when written to."""
        if not hasattr(mmap, "MADV_DONTNEED"):
            return
        for start, stop in self.holes:
            first, last = -(-start // mmap.PAGESIZE), stop // mmap.PAGESIZE
            if last > first:
                where = first * mmap.PAGESIZE, (last - first) * mmap.PAGESIZE
                self.pages.madvise(mmap.MADV_DONTNEED, *where)


def _new_pages(size: int) -> mmap.mmap:
    """Ask the system for memory; not the C library, which would keep what is given back.

    Raises:
        MemoryError: if there is none.
    """
    # Not shared with forked processes, as it would be by default; Windows knows no fork.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANON} if hasattr(mmap, "MAP_PRIVATE") else {}
    try:
        pages = mmap.mmap(-1, size, **private)
    except OSError as error:
        raise MemoryError(f"the system has no {size:,} bytes left") from error
    if size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # where the system has no huge pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


class _Loan(np.ndarray):
    """The bytes of one array, which hands them back when the last array on it is gone.

    Attributes:
        arena: where they belong; None for a part of a loan, whose base is the loan.
        place: where they lie.
    """

    arena: "Arena | None" = None
    place: Place

    def __del__(self) -> None:
        if self.arena is not None:
            self.arena.give_back(self.place)


class Arena:
    """Memory for arrays of any size.

    Args:
        chunk: the least that it asks the system for, in bytes.
        staggered: whether places are larger than the arrays, so that they begin unlike, see `STAGGER`.
    """

    def __init__(self, chunk: int = CHUNK, staggered: bool = False) -> None:
        self._chunk = chunk
        self._staggered = staggered
        self._lent = 0
        self.chunks: list[_Chunk] = []
        self._returned: deque[Place] = deque()  # handed back, and not yet entered in the books
        self._lock = threading.Lock()

    @property
    def reserved(self) -> int:
        """The bytes of all chunks."""
        return sum(chunk.size for chunk in self.chunks)

    @property
    def lent(self) -> int:
        """The bytes on loan."""
        with self._lock:
            self._enter_returned()
            return self._lent

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return an array with arbitrary elements in a hole of the arena."""
        # What is no shape is refused here, before the books are changed.
        count = operator.index(math.prod(shape))
        size = -(-count * dtype.itemsize // CACHE_LINE) * CACHE_LINE
        if self._staggered:
            size += (STAGGER - size) % PAGE
        with self._lock:
            self._enter_returned()
            chunk, hole = self._smallest_hole(size) or self._reserve(size)
            start, stop = chunk.holes[hole]
            chunk.holes[hole : hole + 1] = [(start + size, stop)] if stop - start > size else []
            self._lent += size
        loan = chunk[start : start + size].view(_Loan)
        loan.place = chunk, start, start + size
        loan.arena = self
        return np.ndarray(shape, dtype, buffer=loan)

    def give_back(self, place: Place) -> None:
        """Take a place back; the next call enters it in the books.

        May be called at any moment: in any thread, amid another call of the arena, and amid an interrupt.
        """
        self._returned.append(place)

    def release(self) -> None:
        """Give all chunks that nobody has an array in back to the system, and of the others, what is free."""
        with self._lock:
            self._enter_returned()
            self._drop_unused()
        self.drop_free_pages()

    def drop_free_pages(self) -> None:
        """Give the pages of what is free back to the system, but not its addresses."""
        with self._lock:
            self._enter_returned()
            for chunk in self.chunks:
                chunk.drop_free_pages()

    def after_fork(self) -> None:
        """Called in the child: a thread that is not here may have held the lock."""
        self._lock = threading.Lock()

    def _smallest_hole(self, size: int) -> tuple[_Chunk, int] | None:
        """Find the first chunk with a hole of at least `size` bytes, and the number in it of the smallest such hole.

        The first one, even if a later one has a smaller hole: what was never written to takes no memory yet, and lies
        in the last chunk.
        """
        for chunk in self.chunks:
            fitting = [
                (stop - start, i)
                for i, (start, stop) in enumerate(chunk.holes)
                if stop - start >= size
            ]
            if fitting:
                return chunk, min(fitting)[1]
        return None

    def _reserve(self, size: int) -> tuple[_Chunk, int]:
        """Add a chunk for at least `size` bytes, as large as all before, so that there are few; find its hole.

        Chunks that are one hole, and too small for this array, go: larger ones will probably follow it.
        """
        self._drop_unused()
        try:
            pages = _new_pages(max(size, self.reserved, self._chunk))
        except MemoryError:  # where even addresses are scarce
            pages = _new_pages(size)
        chunk = np.frombuffer(pages, np.uint8).view(_Chunk)
        chunk.pages, chunk.holes = pages, [(0, chunk.size)]
        self.chunks.append(chunk)
        return chunk, 0

    def _drop_unused(self) -> None:
        """Give up the chunks that nobody has an array in."""
        self.chunks = [chunk for chunk in self.chunks if chunk.holes != [(0, chunk.size)]]

    def _enter_returned(self) -> None:
        """Make holes of what was handed back."""
        while self._returned:
            chunk, start, stop = self._returned.popleft()
            self._lent -= stop - start
            holes = chunk.holes
            after = before = bisect(holes, (start, stop))
            if after < len(holes) and holes[after][0] == stop:
                stop = holes[after][1]
                after += 1
            if before > 0 and holes[before - 1][1] == start:
                start = holes[before - 1][0]
                before -= 1
            holes[before:after] = [(start, stop)]


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
        address = _address(array)
        chunks = (chunk for arena in self._arenas for chunk in arena.chunks)
        return any(0 <= address - _address(chunk) < chunk.size for chunk in chunks)

    def borrowed(self, array: np.ndarray) -> np.ndarray:
        """Return a view of an array that does not keep its place in this pool: it is lent again when `array` is gone.

        An array of somebody else's is returned itself: its place would be lent to others.
        """
        owner = owner_of(array)
        if not isinstance(owner, _Loan) or owner.arena not in self._arenas:
            return array
        chunk = owner.place[0]
        offset = _address(array) - _address(chunk)
        return np.ndarray(array.shape, array.dtype, chunk, offset, array.strides)

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


def owner_of(array: Array | None) -> object:
    """Return the object that owns the memory of an array or a view. Arrays of different owners do not overlap."""
    base = getattr(array, "base", None)
    # A loan is an owner itself: the chunk below it belongs to many arrays.
    while base is not None and not getattr(array, "arena", None):
        array, base = base, getattr(base, "base", None)
    return array


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def release() -> None:
    """Give the memory that waits for its next array back to the system."""
    _common.release()
