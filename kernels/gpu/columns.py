"""How the rows and channels of a matrix are divided among the blocks of a grid; see columns.cuh."""

import functools
from typing import NamedTuple

import numpy as np

from .launch import THREADS, Grid

MOST_PARTS = 1024
"""Blocks that make partial sums: enough for all multiprocessors of a large card several times over.

The number does not depend on the card, and so neither do the bits of the sums.
"""

ROWS_OF_A_THREAD = 8
"""Rows that a thread takes at least, where there are so many: it looks its channels up once for all of them."""

FINISH_BLOCK = 32, 32
"""Threads that add up the partial sums of 32 columns."""


class Division(NamedTuple):
    """A launch of a kernel that reads rows, and `rows_per_block`, its argument."""

    grid: Grid
    block: Grid
    rows_per_block: np.int32


@functools.lru_cache(maxsize=4096)
def divide(rows: int, channels: int, lanes: int, parts: int | None = None) -> Division:
    """Divide a matrix.

    Args:
        rows: at least 1.
        channels: at least 1.
        lanes: channels of a pack.
        parts: how many blocks there may be in all, or None for as many as are useful.
    """
    packs = -(-channels // lanes)
    across = min(32, 1 << (packs - 1).bit_length())  # a power of two
    down = THREADS // across
    tiles = -(-packs // across)
    rows_per_block = down * ROWS_OF_A_THREAD
    if parts is not None:
        share = -(-rows // max(1, parts // tiles))
        rows_per_block = max(rows_per_block, -(-share // down) * down)
    grid = -(-rows // rows_per_block), tiles
    return Division(grid, (across, down), np.int32(rows_per_block))


def finish_grid(channels: int) -> Grid:
    """The grid of a kernel that adds up partial sums, with blocks of `FINISH_BLOCK`."""
    return (-(-channels // FINISH_BLOCK[0]),)
