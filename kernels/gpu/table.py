"""One launch for many arrays, through a table of their addresses; table.cuh tells how a kernel reads it.

A table is uploaded only if none like it is on the device: a training step that allocates as the one
before gets the same addresses again, and a step that is recorded as a graph uploads nothing.
"""

from bisect import bisect
from collections import OrderedDict
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, xp_of
from .launch import Grid, function

Arrays = Sequence[Array]

BLOCK_THREADS = 256
PACKS_OF_A_THREAD = 4
"""As in table.cuh; a block takes as many numbers of a parameter as its threads have packs for."""


class Table(NamedTuple):
    """What a kernel needs to know of many arrays.

    Attributes:
        grid: a block for each piece.
        arguments: the table, how many rows and how many columns it has; nothing if the grid is empty.
        left: the indices of the parameters that are not in it, and are left to the caller: their
            numbers do not lie side by side, or belong to an earlier parameter too.
        copies: gradients that had to be copied, which have to live until the kernel is launched.
    """

    grid: Grid
    arguments: tuple
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
    """Launch a kernel once for all parameters.

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
    table = table_of(params, grads, memory)
    if table.grid[0]:
        compute = function(file, name, params[0])
        compute(table.grid, (BLOCK_THREADS,), (*table.arguments, *options))
    return table.left


def table_of(params: Arrays, grads: Arrays | None = None, memory: Sequence[Arrays] = ()) -> Table:
    """Write the table of parameters, their gradients and what is remembered of them."""
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
    if not lines:
        return Table((0,), (), list(range(len(params))), copies)
    lines = np.array(lines, np.int64)
    known = _known(xp_of(params[0]), lines, params[0].dtype.itemsize)
    taken = {members[row] for row in known.rows}
    left = [index for index in range(len(params)) if index not in taken]
    sizes = np.int32(len(known.rows)), np.int32(lines.shape[1])
    return Table((known.blocks,), (known.array, *sizes), left, copies)


class _Known(NamedTuple):
    """A table on the device, how many blocks it is for, and which of the given rows it has."""

    array: Array
    blocks: int
    rows: list[int]


_tables: OrderedDict[tuple, _Known] = OrderedDict()
"""Tables by what stands in them, the last used last."""
TABLES_LIMIT = 64


def _known(xp: Any, lines: np.ndarray, itemsize: int) -> _Known:
    """Return a table on the present device, uploaded now unless it is there."""
    key = xp, xp.cuda.Device().id, itemsize, lines.shape, lines.tobytes()
    if key not in _tables:
        if len(_tables) >= TABLES_LIMIT:
            _tables.popitem(last=False)
        _tables[key] = _uploaded(xp, lines, itemsize)
    _tables.move_to_end(key)
    return _tables[key]


def _uploaded(xp: Any, lines: np.ndarray, itemsize: int) -> _Known:
    """Upload the rows, but not those whose parameter shares memory with that of an earlier row.

    Two blocks must not change one number.
    """
    rows, places = [], []
    for row, (_, size, param, *_) in enumerate(lines.tolist()):
        start, end = param, param + size * itemsize
        at = bisect(places, (start, end))
        before, after = places[at - 1 : at], places[at : at + 1]
        if size and ((before and before[0][1] > start) or (after and after[0][0] < end)):
            continue
        if size:
            places.insert(at, (start, end))
        rows.append(row)
    lines = lines[rows]
    piece = BLOCK_THREADS * PACKS_OF_A_THREAD * (16 // itemsize)
    ends = np.cumsum(-(-lines[:, 1] // piece))
    lines[1:, 0] = ends[:-1]
    return _Known(xp.asarray(lines), int(ends[-1]), rows)


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
