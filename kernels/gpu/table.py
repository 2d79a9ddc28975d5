"""One launch for many arrays, through a table of their addresses; table.cuh tells how a kernel reads it.

The table is an argument of the kernel. Nothing is uploaded, and a launch that is recorded as part of
a graph keeps its table: the arrays have to stay where they are for as long as the graph.
"""

from bisect import bisect
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, xp_of
from .launch import Grid, function

Arrays = Sequence[Array]

BLOCK_THREADS = 256
PACKS_OF_A_THREAD = 4
"""As in table.cuh; a block takes as many numbers of a parameter as its threads have packs for."""

MOST_LINES, MOST_ARRAYS = 64, 5
"""Of a table: more lines than 64 would not fit into a kernel's arguments, which may have 4 KiB."""

FIRST_BLOCK, SIZE, ARRAYS = range(3)
"""What stands in a line; from ARRAYS on, the addresses."""

TABLE = np.dtype(
    [
        ("lines", np.int64),
        ("arrays", np.int64),
        ("at", np.int64, (MOST_LINES, ARRAYS + MOST_ARRAYS)),
    ]
)


class Launch(NamedTuple):
    """A table, and the grid of a kernel that gets it: a block for each piece."""

    grid: Grid
    table: np.ndarray


class Tables(NamedTuple):
    """What kernels need to know of many arrays.

    Attributes:
        launches: one for each MOST_LINES parameters.
        left: the indices of the parameters that are in none, and are left to the caller: their
            numbers do not lie side by side, or belong to an earlier parameter too.
        copies: gradients that had to be copied, which have to live until the kernels are launched.
    """

    launches: list[Launch]
    left: list[int]
    copies: list[Array]


def run(
    file: str,
    name: str,
    params: Arrays,
    grads: Arrays | None,
    memory: Sequence[Arrays],
    *options: Any,
) -> list[int]:
    """Launch a kernel for all parameters.

    Args:
        file: see `launch.function`.
        name: see `launch.function`.
        params: the parameters, or whatever is to be changed, of one dtype.
        grads: their gradients, or None where the kernel needs none.
        memory: lists of what is remembered of the parameters.
        options: what the kernel takes after the table.

    Returns:
        The indices of those parameters that are left to the caller.
    """
    tables = tables_of(params, grads, memory)
    for grid, table in tables.launches:
        function(file, name, params[0])(grid, (BLOCK_THREADS,), (table, *options))
    return tables.left


def tables_of(params: Arrays, grads: Arrays | None = None, memory: Sequence[Arrays] = ()) -> Tables:
    """Write the tables of parameters, their gradients and what is remembered of them."""
    members, lines, copies = [], [], []
    for index, (param, *kept) in enumerate(zip(params, *memory, strict=True)):
        if not _lie_alike(param, kept):
            continue
        arrays = [param, *kept]
        if grads is not None:
            grad = fitting(grads[index], param)
            copies.append(grad)
            arrays.insert(1, grad)
        members.append(index)
        lines.append((0, param.size, *(array.data.ptr for array in arrays)))
    itemsize = params[0].dtype.itemsize
    apart = _apart(lines, itemsize)
    taken = {members[row] for row in apart}
    left = [index for index in range(len(params)) if index not in taken]
    lines = [lines[row] for row in apart if lines[row][SIZE]]
    return Tables([*_launches(lines, itemsize)], left, copies)


def _launches(lines: list[tuple[int, ...]], itemsize: int) -> Iterator[Launch]:
    """Write lines into tables, MOST_LINES in each."""
    piece = BLOCK_THREADS * PACKS_OF_A_THREAD * (16 // itemsize)
    for first in range(0, len(lines), MOST_LINES):
        some = np.array(lines[first : first + MOST_LINES], np.int64)
        ends = np.cumsum(-(-some[:, SIZE] // piece))
        some[1:, FIRST_BLOCK] = ends[:-1]
        table = np.zeros(1, TABLE)
        table["lines"], table["arrays"] = len(some), some.shape[1] - ARRAYS
        table["at"][0, : len(some), : some.shape[1]] = some
        yield Launch((int(ends[-1]),), table)


def _apart(lines: list[tuple[int, ...]], itemsize: int) -> list[int]:
    """The numbers of the lines whose parameters share no memory with that of an earlier line.

    Two blocks must not change one number.
    """
    rows, places = [], []
    for row, (_, size, start, *_) in enumerate(lines):
        end = start + size * itemsize
        at = bisect(places, (start, end))
        overlaps_before = at > 0 and places[at - 1][1] > start
        overlaps_after = at < len(places) and places[at][0] < end
        if size and (overlaps_before or overlaps_after):
            continue
        if size:
            places.insert(at, (start, end))
        rows.append(row)
    return rows


def fitting(given: Array, like: Array) -> Array:
    """Return `given` with its numbers in memory as those of `like` lie, in its dtype; copied if need be."""
    if given.dtype == like.dtype and _steps(given) == _steps(like):
        return given
    copy = xp_of(like).empty_like(like)
    copy[...] = given
    return copy


def _lie_alike(param: Array, others: Arrays) -> bool:
    """Whether the numbers of all arrays lie in memory without gaps, in the same order, in one dtype."""
    steps = sorted(_steps(param))
    expected = param.dtype.itemsize
    for step, size in steps:
        if step != expected:
            return False
        expected *= size
    return all(other.dtype == param.dtype and _steps(other) == _steps(param) for other in others)


def _steps(array: Array) -> list[tuple[int, int]]:
    """The distances in memory along the axes that have any, and their sizes."""
    if prod(array.shape) == 0:
        return []
    pairs = zip(array.strides, array.shape, strict=True)
    return [(step, size) for step, size in pairs if size > 1]
