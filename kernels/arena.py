"""An arena: memory that arrays of any size are cut out of, and that is used again when they are gone.

An array takes the smallest hole that holds it, in the oldest piece of the arena that has one, and leaves the rest of
the hole; when the array and all views of it are gone, its place is a hole again, joined with the holes on both sides
(Knuth, The Art of Computer Programming, volume 1, section 2.5: best fit with boundary tags). The next array may
thus have any size, and a step that frees, on its way back, what it made on its way forward leaves hardly any
hole unused.

How the end of an array is noticed: each array is a view of a `Loan`. A view of a view gets the first
array of the chain as its base, except where one of another class comes between: so all views of an array
hold its loan, and when the last is gone, Python calls the loan's `__del__`.
"""

import math
import mmap
import operator
import threading
from bisect import bisect
from collections import deque
from contextlib import suppress

import numpy as np

CACHE_LINE = 64
"""Bytes that the processor fetches at once. Arrays in the arena begin with a line, so that their rows lie in few."""

PAGE = 4096
"""Bytes of a page. A processor tells recent reads and writes apart by their places in pages: a loop that reads one
array and writes another at the same place of its page waits for itself, three times as long as it computes."""

STAGGER = 17 * CACHE_LINE
"""Sizes of places in an arena are whole pages and this, so that no two of 64 arrays in a row begin alike."""

CHUNK = 2**28
"""The least that the arena asks for, in bytes: addresses, which get pages when they are written to."""

HUGE_FROM = 2**23
"""Bytes of a chunk behind which it asks for huge pages, as NumPy does for its arrays. Processors keep the places of
about so many small pages at hand; and of huge ones, a small network would leave most of the last one unused."""

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
    if size > HUGE_FROM and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # where the system has no huge pages
            pages.madvise(mmap.MADV_HUGEPAGE, HUGE_FROM)
    return pages


class Loan(np.ndarray):
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
        return np.ndarray(shape, dtype, buffer=self._loan((chunk, start, start + size)))

    def lend_again(self, place: Place) -> np.ndarray:
        """Lend the bytes of a place that was handed back.

        Raises:
            LookupError: if somebody else has bytes of it.
        """
        chunk, start, stop = place
        with self._lock:
            self._enter_returned()
            hole = (
                bisect(chunk.holes, (start, chunk.size)) - 1
            )  # the last that begins there or before
            first, end = chunk.holes[hole] if hole >= 0 else (0, 0)
            if end < stop:
                raise LookupError(f"bytes {start:,} to {stop:,} are lent to somebody else")
            rest = (first, start), (stop, end)
            chunk.holes[hole : hole + 1] = [(a, b) for a, b in rest if a < b]
            self._lent += stop - start
            if not any(chunk is one for one in self.chunks):  # given up while it was one hole
                self.chunks.append(chunk)
        return self._loan(place)

    def _loan(self, place: Place) -> Loan:
        chunk, start, stop = place
        loan = chunk[start:stop].view(Loan)
        loan.place, loan.arena = place, self
        return loan

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
